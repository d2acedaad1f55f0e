"""Settings of the whole test run."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Timings are never asserted, and a busy machine is not a defect.
settings.register_profile("mesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mesh")
