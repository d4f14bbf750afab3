"""Loops over bytes that are compiled to machine code when the program first runs (numba), and kept for later runs."""
