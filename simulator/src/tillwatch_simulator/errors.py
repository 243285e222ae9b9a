"""The simulator's errors, split by who is at fault.

SimulatorError
├── FaultUnknown      the caller named a fault that this device cannot have
├── ScenarioInvalid   the scenario file says something that cannot be played
└── PartFailed        a part that the simulator needs (a port, a process, a credential) is not usable
"""


class SimulatorError(Exception):
    """Anything the simulator refuses or cannot do; its text is for the person who started it."""


class FaultUnknown(SimulatorError):  # noqa: N818 - the tree reads as a list of faults
    """This device cannot have this fault; the message lists those it can have."""


class ScenarioInvalid(SimulatorError):  # noqa: N818 - as above
    """The scenario cannot be played; the message names the place, what was expected and what came."""


class PartFailed(SimulatorError):  # noqa: N818 - as above
    """A part did not start, or ended before its time; the message says which and what it last said."""
