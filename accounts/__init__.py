"""Accounts and the keys that let them in."""
