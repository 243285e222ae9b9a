"""Errors of the agent, split by who must act.

AgentError
├── OperatorError            whoever installs or runs the agent must act; `ConfigError` is one (`config`)
│   ├── OutboxBusy           another process holds this outbox
│   ├── FamilyUnusable       no installed package drives a configured protocol, or more than one (`families`)
│   └── SettingsInvalid      a driver cannot use its settings (`drivers`)
├── MachineError             the computer beside the till fails us
│   ├── OutboxCorrupt        the outbox is not what was written; opening it again sets it aside
│   ├── OutboxFailed         the outbox cannot be read or written: full disk, read-only file system, bad block
│   └── JournalUnreadable    the page of the newest job is not what was written; it is set aside
├── DeviceError              a device or its line does not do what its manual says; subclassed beside its drivers
├── BrokerError              the broker cannot be reached, or refuses us
│   └── CertificateEnded     its certificate has ended, by the time that a collector told
└── OwnError                 our own mistake; nothing changed
    ├── ObservationInvalid   a driver says what the wire has no room for
    ├── SessionInputIllegal  the session has no row for this turn in this phase
    └── JobReportsFull       more unacknowledged job reports than any job can have
"""


class AgentError(Exception):
    """Any error of the agent; its message says what was expected and what came."""


class OperatorError(AgentError):
    """Whoever installs or runs the agent must act."""


class OutboxBusy(OperatorError):  # noqa: N818 - the tree reads as a list of faults
    """Another process holds this outbox; the message says which."""


class MachineError(AgentError):
    """The computer beside the till fails us."""


class OutboxCorrupt(MachineError):  # noqa: N818 - as above
    """The outbox is not what was written to it; opening it again sets the file aside."""


class OutboxFailed(MachineError):  # noqa: N818 - as above
    """The outbox cannot be read or written now; nothing was changed."""


class JournalUnreadable(MachineError):  # noqa: N818 - as above
    """The page of the newest job is not what was written to it."""


class DeviceError(AgentError):
    """A device or its line does not do what its manual says."""


class BrokerError(AgentError):
    """The broker cannot be reached, or refuses us."""


class CertificateEnded(BrokerError):  # noqa: N818 - as above
    """The broker's certificate has ended, by the time that a collector told."""


class OwnError(AgentError):
    """Our own mistake; nothing changed."""


class ObservationInvalid(OwnError):  # noqa: N818 - as above
    """A driver says what the wire has no room for."""


class SessionInputIllegal(OwnError):  # noqa: N818 - as above
    """The session has no row for this turn in this phase."""


class JobReportsFull(OwnError):  # noqa: N818 - as above
    """More unacknowledged job reports than any job can have."""
