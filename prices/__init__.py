"""What tokens are worth in USD at a block, from the Uniswap v3 logs that are stored (docs/prices.md)."""
