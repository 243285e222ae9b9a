"""Which device families are installed: the entry points of the group `tillwatch.drivers`, by name.

A package that brings a family names it in its own metadata; nothing of ours lists it:

    [project.entry-points."tillwatch.drivers"]
    acme_scale = "acme.scale:driver"

What is found runs inside the agent: whoever installs a package here trusts it. It is loaded only when a configuration
names it. A name that two packages claim is refused, since which of them would speak to a device is not to be left to
the order of a directory. A family that is not there, cannot be loaded, or does not take its settings is the operator's
to mend, and is told at the start.

A change violates this when a package is loaded that no configuration names.
"""

from importlib.metadata import EntryPoint, entry_points

from tillwatch_agent.drivers import GROUP, Device, Driver
from tillwatch_agent.errors import OperatorError


class FamilyUnusable(OperatorError):  # noqa: N818 - the tree reads as a list of faults
    """A protocol has no driver here, more than one, or one that cannot be loaded; the message says which."""


def names() -> tuple[str, ...]:
    """List the installed families, by name."""
    return tuple(sorted(entry_points(group=GROUP).names))


def driver(protocol: str, device: Device) -> Driver:
    """Make the driver of a device; raises `FamilyUnusable`, and what its family raises for its settings."""
    entry = _entry(protocol, device)
    try:
        family = entry.load()
    except Exception as error:  # told anew, so BLE001 is content: a foreign import may raise anything
        raise FamilyUnusable(f"{device.component}: protocol {protocol!r}: {entry.value}: {error}") from error
    made: Driver = family(device)
    return made


def _entry(protocol: str, device: Device) -> EntryPoint:
    match tuple({entry.value: entry for entry in entry_points(group=GROUP, name=protocol)}.values()):
        case (entry,):
            return entry
        case ():
            said = f"expected one of {', '.join(names())}, or a package that brings it, got {protocol!r}"
            raise FamilyUnusable(f"{device.component}: protocol: {said}")
        case many:
            claimed = ", ".join(sorted(entry.value for entry in many))
            raise FamilyUnusable(f"{device.component}: protocol {protocol!r}: expected one package, got {claimed}")
