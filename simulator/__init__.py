"""The simulator: one seed drives a chain, its nodes, the database and the processes, and judges what is stored."""
