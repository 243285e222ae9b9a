"""Reading the policy file: the operator's, or the packaged one."""

from importlib import resources
from pathlib import Path

from tillwatch_collector.domain.policy import Policy, parse_policy
from tillwatch_collector.errors import PolicyInvalid


def load(path: Path | None = None) -> Policy:
    """Return the policy at `path`, or the packaged one; raises `PolicyInvalid`, which names the file."""
    if path is None:
        return parse_policy(resources.files("tillwatch_collector").joinpath("policy.toml").read_text(encoding="utf-8"))
    try:
        return parse_policy(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyInvalid(f"{path}: expected a readable file, got {error}") from error
    except PolicyInvalid as error:
        raise PolicyInvalid(f"{path}: {error}") from None
