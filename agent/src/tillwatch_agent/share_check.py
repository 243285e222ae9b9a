"""The doctor's look at shared ports: where each path leads, and what the installer has still to do.

Nothing is opened: whoever opens a path that is shared is the till to whoever shares it.
"""

from pathlib import Path
from typing import Final

from tillwatch_agent.checks import Check, Verdict
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.till_side import leads_to_port

DROP_IN: Final = "put tillwatch-agent.service.d/share.conf beside the agent's unit, then: sudo systemctl daemon-reload"
NOT_LOOKED_AT: Final = "the running agent has the port; it was not looked at"
SHARED_NOW: Final = "the agent shares it with the till and holds it all the time; what it sees, it reports"


def check_shares(config: AgentConfig) -> tuple[Check, ...]:
    """Say of each shared port where its path leads."""
    shared = ((printer.name, printer.share, printer.port) for printer in config.printer)
    return tuple(_check(f"share.{name}", path, port) for name, path, port in shared if path is not None)


def _check(name: str, path: Path, port: str) -> Check:
    use = f"let the till's software open {path} in place of {port}"
    if not path.parent.is_dir():
        found = f"{path}: there is no folder {path.parent}"
        return Check(name=name, verdict=Verdict.PROBLEM, found=found, advice=DROP_IN)
    if leads_to_port(path):
        found = f"{path}: it leads to the port itself, which the till's software has alone"
        advice = "start the agent; it shares the port again when the till's software opens it anew"
        return Check(name=name, verdict=Verdict.WARNING, found=found, advice=advice)
    if path.is_symlink() and path.exists():
        return Check(name=name, verdict=Verdict.OK, found=f"{path}: shared; {use}")
    if path.exists():
        found, advice = f"{path}: it exists and is not a link", "name another path as share, or remove what is there"
        return Check(name=name, verdict=Verdict.PROBLEM, found=found, advice=advice)
    found = f"{path}: not there; it is while the agent runs and has the port"
    return Check(name=name, verdict=Verdict.WARNING, found=found, advice=f"start the agent; then {use}")
