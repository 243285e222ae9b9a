"""`tillwatch-collector`: the way into the commands."""

import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""What shells expect after Ctrl-C: 128 and the signal's number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 1 cannot be done, 2 the installation or the command line must change."""
    try:
        from tillwatch_collector.cli import root  # noqa: PLC0415 - a second's imports, in which Ctrl-C comes, too

        return root.run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
