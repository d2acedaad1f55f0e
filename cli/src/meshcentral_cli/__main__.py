"""`python -m meshcentral_cli` is the same program as `mesh`."""

from meshcentral_cli.main import run

run()
