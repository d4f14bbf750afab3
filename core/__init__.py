"""Shared ground of the house: types, errors, settings, supervision, RPC and storage. No business word lives here."""
