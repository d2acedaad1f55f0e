"""Control channel, accounts, device groups and devices."""
