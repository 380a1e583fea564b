"""`python -m serving.web`, the same as `sr web`."""

import sys

from serving.web.command import run

if __name__ == "__main__":
    sys.exit(run())
