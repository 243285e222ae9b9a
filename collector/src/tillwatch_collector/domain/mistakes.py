"""What is wrong with a file that people write: each mistake by its key, with what was expected and what came.

A key that is misspelt is missing, too: what nobody knows is named first. A change violates this when a mistake is told
without its key, or a value without what would have been right.
"""

from collections.abc import Container

from pydantic import ValidationError
from pydantic_core import ErrorDetails

TOLD_MAX = 3
"""More is not read at once."""
_SHORT = (str, int, float, bool)
_MEANT = {"Input should be": "expected", "String should match pattern": "expected a text of the form"}
"""What pydantic says, and what is meant."""


def told(error: ValidationError, whole: str, *, secret: Container[str] = ()) -> str:
    """Say the first mistakes in one line; `whole` is what the file as such is called.

    What came is not repeated below a key of `secret`, nor where it is longer than a line.
    """
    found = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    more = f"; and {len(found) - TOLD_MAX} more" if len(found) > TOLD_MAX else ""
    return "; ".join(_line(one, whole, secret) for one in found[:TOLD_MAX]) + more


def _line(found: ErrorDetails, whole: str, secret: Container[str]) -> str:
    key = ".".join(str(part) for part in found["loc"]) or whole
    if found["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if found["type"] == "missing":
        return f"{key}: expected a value, got none"
    said = found["msg"].removeprefix("Value error, ")
    for pydantics, meant in _MEANT.items():
        said = said.replace(pydantics, meant, 1)
    is_shown = isinstance(found["input"], _SHORT) and not any(part in secret for part in found["loc"])
    return f"{key}: {said}, got {found['input']!r:.100}" if is_shown and ", got " not in said else f"{key}: {said}"
