"""The door to `commands`: what takes long, importing, is done inside, so that Ctrl-C ends it without a word."""

import sys

INTERRUPTED = 130
"""As a shell counts SIGINT."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    try:
        from tillwatch_agent import commands  # noqa: PLC0415 - the import is what may be interrupted

        return commands.main(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
