"""Pure calldata: what to send to a contract. No I/O, clock, settings or chance."""
