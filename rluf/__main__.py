"""`python -m rluf` is the command `rluf`."""

from rluf.cli import main

if __name__ == "__main__":  # Worker processes import this file too.
    main()
