"""What a technician does at the slots of a till: bring the first release and the launcher, and see what lies there.

Only a first release comes by hand, unsigned, on the word of who brings it; every later one is signed and proves itself.
So a product that has one is refused. What was cut is begun again by the same words. The slots are the agent's: whoever
owns `state_dir` works on them, while no agent runs.

A change violates this when a release comes by hand into slots that hold another one, or when what lies there belongs to
a user that the agent is not.
"""

import hashlib
import json
import os
import pwd
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from tillwatch_agent import machine, updates
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.errors import OperatorError
from tillwatch_agent.installer import hooks, launcher
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.failure import InstallFailed
from tillwatch_agent.installer.slots import Installed, Staging
from tillwatch_agent.outbox import Outbox
from tillwatch_agent.runtime import OUTBOX_FILE
from tillwatch_agent.worker import Product, running_now
from tillwatch_protocol.release import InstallerKind, TargetPath, Version

LAUNCHER: Final = Path("/usr/local/lib/tillwatch-agent/launcher.py")
"""Where the units of `deploy/` start it."""

JOB_ID: Final = "by-hand"
"""In the place of a job's; none of a collector's is called so, for each has a dot."""

_TARGET: Final = TypeAdapter[str](TargetPath)
_VERSION: Final = TypeAdapter[str](Version)

_HEADINGS: Final[tuple[str, ...]] = ("product", "is", "version", "slot", "digest", "target")
_NONE: Final = "-"


@dataclass(frozen=True, kw_only=True, slots=True)
class First:
    """A first release, as the one who brings it names it."""

    product: str
    archive: Path
    version: str
    target: str | None = None
    """Under which it is signed, or would be; None: the product and the archive's name."""


def init(config: AgentConfig, first: First) -> Installed:
    """Put a first release into a slot and keep it; returns what is committed. Raises `AgentError`."""
    product = _product(config, first.product)
    staging = _staging(first, product.kind)
    _expect_owner(config.state_dir)
    with closing(Outbox.open(config.state_dir / OUTBOX_FILE)):  # as long as it is ours, no agent works on the slots
        _expect_none(product, staging)
        if product.slots.trial() is None and product.slots.committed() is None:
            product.slots.stage(first.archive, staging)
        activation_id = product.slots.activate(JOB_ID)
        product.slots.commit(activation_id)
        if product.kind is InstallerKind.CONFIG:
            _have_it_read(product, activation_id)
        committed = product.slots.committed()
    assert committed is not None  # noqa: S101 - it was committed
    return committed


def bring_launcher(config: AgentConfig, path: Path) -> None:
    """Put the launcher in its place, or a newer one in its stead; raises `AgentError`."""
    path = path.absolute()
    within = next((one for one in config.update.products if path.resolve().is_relative_to(one.folder.resolve())), None)
    if within is not None:
        raise OperatorError(f"{path}: expected a place outside {within.folder}, where releases of {within.name} go")
    disk = Disk()
    disk.make_folder(path.parent)
    disk.write(path, Path(launcher.__file__).read_bytes())


def look(config: AgentConfig) -> list[dict[str, Any]]:
    """Say of each product what its slots hold: one object each, of words that JSON has."""
    boot_id = machine.host_boot_id()
    return [_seen(name, product, boot_id) for name, product in updates.products(config.update, Disk()).items()]


def as_json(seen: list[dict[str, Any]]) -> str:
    """Give it as one JSON object."""
    return json.dumps({"products": seen})


def table(seen: list[dict[str, Any]]) -> str:
    """Lay it out for reading: a line for each release that lies somewhere, and for a product that has none."""
    lines = [_HEADINGS, *(line for product in seen for line in _lines(product))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _product(config: AgentConfig, name: str) -> Product:
    products = updates.products(config.update, Disk())
    if name not in products:
        known = ", ".join(products) or "none: [[update.products]] is empty"
        raise OperatorError(f"{name}: expected a product of the configuration, which are {known}")
    return products[name]


def _staging(first: First, kind: InstallerKind) -> Staging:
    target = first.target or f"{first.product}/{first.archive.name}"
    try:
        _VERSION.validate_python(first.version)
        _TARGET.validate_python(target)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise OperatorError(f"{target} {first.version}: expected the words of a release: {said}") from None
    if not target.startswith(f"{first.product}/"):
        raise OperatorError(
            f"--target: expected {first.product}/..., as releases of {first.product} have it, got {target}"
        )
    try:
        with first.archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OperatorError(f"{first.archive}: expected an archive, got: {error.strerror}") from None
    return Staging(target=target, product=first.product, version=first.version, digest=digest, kind=kind)


def _expect_owner(state_dir: Path) -> None:
    """Whoever owns it is whom the agent runs as; others would leave what it cannot change."""
    if os.geteuid() != 0:  # root would make it its own, and the agent runs as somebody else
        with suppress(OSError):
            state_dir.mkdir(parents=True, exist_ok=True)
    try:
        owner = state_dir.stat().st_uid
    except OSError as error:
        said = f"{state_dir}: expected state_dir, owned by the user that the agent runs as, got: {error.strerror}"
        raise OperatorError(f"{said}; make it as root: install -d -o USER {state_dir}") from None
    if owner != os.geteuid():
        said = f"expected to be run by {_user(owner)}, who owns {state_dir}, got {_user(os.geteuid())}"
        raise OperatorError(f"{said}: runuser -u {_user(owner)} -- ...")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _expect_none(product: Product, staging: Staging) -> None:
    """Only what the same words began before may be there."""
    for there in (product.slots.trial(), product.slots.committed()):
        if there is not None and (there.job_id, there.digest, there.target) != (JOB_ID, staging.digest, staging.target):
            said = f"expected no release of {staging.product} in its slots, got {there.version} ({there.target})"
            raise OperatorError(f"{said}; the next one comes by a rollout")


def _have_it_read(product: Product, activation_id: str) -> None:
    """Have those who read settings read these; no launcher says that they run."""
    if product.restart is not None:
        outcome = hooks.run(product.restart, {"activation_id": activation_id})
        if not outcome.is_well:
            said = outcome.said or f"exit code {outcome.exit_code}"
            raise OperatorError(f"{product.restart.arguments[0]}: expected 0 of restart, got: {said}")
    product.slots.declare_running(activation_id, machine.host_boot_id())


def _seen(name: str, product: Product, boot_id: str) -> dict[str, Any]:
    try:
        running = running_now(product, boot_id)
        held = {
            "committed": product.slots.committed(),
            "on_trial": product.slots.trial(),
            "staged": product.slots.staged(),
        }
        starts = product.slots.attempts()
    except InstallFailed as failure:
        return {"product": name, "problem": str(failure)}
    seen: dict[str, Any] = {
        "product": name,
        "runs": running.activation_id if running else None,
        "starts_of_trial": starts,
    }
    return seen | {state: _words(installed) for state, installed in held.items() if installed is not None}


def _words(installed: Installed) -> dict[str, str | None]:
    words = ("version", "slot", "digest", "target", "activation_id", "job_id")
    return {word: getattr(installed, word) for word in words}


def _lines(product: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    name = product["product"]
    if "problem" in product:
        yield name, product["problem"], "", "", "", ""
        return
    states = [state for state in ("committed", "on_trial", "staged") if state in product]
    if not states:
        yield name, "not installed", *[_NONE] * 4
    for state in states:
        words = product[state]
        runs = ", runs" if words["activation_id"] and words["activation_id"] == product["runs"] else ""
        said = state.replace("_", " ") + runs
        yield name, said, words["version"], words["slot"], words["digest"][:12], words["target"]
