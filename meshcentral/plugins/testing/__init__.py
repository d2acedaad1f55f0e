"""Helpers for the tests of plugins. Import from the modules inside; the fixtures are in `plugins.pytest_plugin`."""
