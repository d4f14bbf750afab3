"""Sending: the one room with keys. Others insert intents and await what became of them (docs/sending.md)."""
