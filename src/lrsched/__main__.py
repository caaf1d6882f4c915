"""``python -m lrsched`` is the command ``lrsched``."""

import sys

from lrsched.cli import main

if __name__ == "__main__":
    sys.exit(main())
