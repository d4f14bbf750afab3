"""Robots that keep liquidity of Uniswap v3 around the price (docs/droids.md)."""
