"""`python -m finerank` is the `finerank` command."""

from finerank.cli import main

if __name__ == "__main__":
    main()
