"""The path of a block: watch, plan, fetch, link, commit, announce; backward on a reorg, and the holes behind it."""
