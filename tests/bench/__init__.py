"""What the program is measured with: `python -m tests.bench --help`, docs/performance.md."""
