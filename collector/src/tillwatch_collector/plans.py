"""Reading a plan file: how a release goes out, in TOML as people write it, or in JSON as the API takes it.

A file holds the settings alone: for which release, for whom and why is said beside it, so that one plan serves many
releases. What is read is checked as a whole by `domain.rollout`, and goes on as the JSON text that a rollout keeps.
"""

import json
import tomllib
from datetime import date, datetime
from importlib import resources
from pathlib import Path

from tillwatch_collector.domain.rollout import SETTINGS_BYTES_MAX, RolloutRefused, parse_settings


def example() -> str:
    """Return the packaged plan, with a word on each of its settings."""
    return resources.files("tillwatch_collector").joinpath("plan.toml").read_text(encoding="utf-8")


def read(path: Path) -> str:
    """Return the settings in a file, checked, as JSON text; raises `RolloutRefused`, which names the file."""
    try:
        with path.open("rb") as file:
            content = file.read(SETTINGS_BYTES_MAX + 1)
        text = settings_text(content.decode(), json_already=path.suffix.lower() == ".json")
    except (OSError, UnicodeDecodeError) as error:
        raise RolloutRefused(f"{path}: expected a readable file, got {error}") from None
    except RolloutRefused as error:
        raise RolloutRefused(f"{path}: {error}") from None
    return text


def settings_text(text: str, *, json_already: bool = False) -> str:
    """Return settings in TOML, or in JSON, as checked JSON text; raises `RolloutRefused`."""
    if len(text) > SETTINGS_BYTES_MAX:
        raise RolloutRefused(f"expected at most {SETTINGS_BYTES_MAX} bytes, got more")
    stated = text if json_already else _as_json(text)
    parse_settings(stated)
    return stated


def _as_json(text: str) -> str:
    try:
        return json.dumps(tomllib.loads(text), default=_date_text, indent=2)
    except tomllib.TOMLDecodeError as error:
        raise RolloutRefused(f"expected TOML, got: {error}") from None


def _date_text(value: object) -> str:
    """Write a TOML date as JSON has it; what else TOML knows and JSON does not stays what no setting takes."""
    return value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else repr(value)
