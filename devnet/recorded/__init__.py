"""A node that answers from a recorded chain, fast enough that what is measured is its client.

    python -m devnet.recorded FOLDER --port 0

`recorder` writes the folder, `folder` reads it, `answers` knows JSON-RPC, `http` and `frames` the transport, `node`
what moves: the head. Blocks leave as slices of memory-mapped files; nothing parses or copies them.
"""
