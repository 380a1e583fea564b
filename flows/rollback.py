"""`sr rollback <name> --reason …`: the title goes back to the champion before this one (flows/promote.py)."""

import sys
from collections.abc import Sequence

from flows.promote import command, rollback


def main(argv: Sequence[str] | None = None) -> int:
    """`sr rollback <name> --reason …`; returns the exit code."""
    what = "the registered model, such as sr-edsr-x4-bicubic"
    return command("rollback", "Give the title back to the champion before this one.", what, rollback, argv)


if __name__ == "__main__":
    sys.exit(main())
