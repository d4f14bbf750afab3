"""`python -m daemon` is `chainworkd`: how a parent starts its children with its own interpreter."""

from daemon.cli import main

if __name__ == "__main__":
    main()
