"""`tillwatch-schemas DIR`: write the JSON Schemas and the AsyncAPI document; --check says which are out of date."""

import argparse
import sys
from pathlib import Path

from tillwatch_protocol.schemas import documents


def main() -> int:
    """Run the command; 0 when all is written or current, 1 when --check found a difference."""
    parser = argparse.ArgumentParser(prog="tillwatch-schemas", description=__doc__)
    parser.add_argument("directory", type=Path, help="where the documents lie")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a document differs from the models"
    )
    options = parser.parse_args()
    stale = [name for name, text in documents().items() if _read(options.directory / name) != text]
    if options.check:
        for name in stale:
            print(f"{options.directory / name} is out of date: run `make schemas`", file=sys.stderr)  # noqa: T201
        return 1 if stale else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (options.directory / name).write_text(text, encoding="utf-8")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
