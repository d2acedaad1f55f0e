"""Accounts: logins, password hashes, and the actions that manage them."""
