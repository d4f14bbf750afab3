"""Unsigned calls of the Ostium perpetuals contracts: exact units, three ABI generations, errors by name. Pure."""
