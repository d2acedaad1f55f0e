"""Device groups, devices, commands on devices, and stored events."""
