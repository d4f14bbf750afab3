"""Logs to what they mean: pure decoders by topic, and the rows they become. Malformed logs are counted."""
