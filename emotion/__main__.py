"""`python -m emotion` is the `emotion` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
