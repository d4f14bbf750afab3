"""One module per group of paths; each keeps its group's auth and error envelope."""
