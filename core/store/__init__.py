"""PostgreSQL: the port that the indexer writes through, its implementations, and what readers ask."""
