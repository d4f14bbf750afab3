"""Whether a block is complete: its roots, blooms and hashes computed again from what a node sent. Pure."""
