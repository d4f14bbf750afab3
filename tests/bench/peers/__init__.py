"""Other indexers on the same node and the same fixture; docs/performance.md says what each does and does not do."""
