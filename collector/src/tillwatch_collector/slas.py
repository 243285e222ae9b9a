"""Reading the file of service contracts: the operator's, or the packaged one."""

from importlib import resources
from pathlib import Path

from tillwatch_collector.domain.sla import SlaBook, parse_sla
from tillwatch_collector.errors import SlaInvalid


def load(path: Path | None = None) -> SlaBook:
    """Return the contracts at `path`, or the packaged ones; raises `SlaInvalid`, which names the file."""
    if path is None:
        return parse_sla(resources.files("tillwatch_collector").joinpath("sla.toml").read_text(encoding="utf-8"))
    try:
        return parse_sla(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SlaInvalid(f"{path}: expected a readable file, got {error}") from error
    except SlaInvalid as error:
        raise SlaInvalid(f"{path}: {error}") from None
