"""JSON-RPC to Ethereum nodes: transport, wire format and the block source."""
