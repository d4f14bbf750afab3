"""The Ostium builder service: requests to unsigned calldata over HTTP and WebSocket (docs/builder.md)."""
