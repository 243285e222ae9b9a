"""The door to `commands`: what takes long, importing, is done inside, so that Ctrl-C ends it without a word."""

import sys

INTERRUPTED = 130
"""As a shell counts SIGINT."""


def main() -> None:
    """Run `tillwatch-sim`; ends the process."""
    try:
        from tillwatch_simulator import commands  # noqa: PLC0415 - the import is what may be interrupted

        commands.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
