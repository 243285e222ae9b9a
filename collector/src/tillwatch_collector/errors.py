"""Errors of the collector, split by who is at fault. What terminals send wrong is the protocol's `PeerError`.

CollectorError
├── OperatorError            the installation must change
│   ├── PolicyInvalid        the policy file cannot be used; says the key, what was expected and what came
│   ├── RoutesInvalid        the routes file cannot be used; says the key, what was expected and what came
│   ├── SlaInvalid           the file of service contracts cannot be used
│   ├── LeaseHeldElsewhere   another process ticks; this one may not
│   ├── ProcessNameTaken     another process was started under this one's name
│   └── in their modules: ConfigError, BrokerUnavailable, DataDirInUse, WebAddressTaken, RolesApartUnsupported,
│       DatabaseUrlUnusable, DatabaseMissing, DatabaseInUse, SchemaTooNew, BackupUnwritable, BackupTooNew,
│       AuthorityUnusable, RevocationNotInForce, TargetUnusable, ReleasesUnusable
├── CallerError              what was asked cannot be done; nothing changed
│   ├── TicketUnknown        no such ticket
│   ├── TicketActionIllegal  the ticket's status does not take the action
│   ├── TicketRefused        what is said of a ticket cannot stand; says the field, what was expected and what came
│   │   └── AttachmentRefused the file is none that a ticket takes
│   ├── ReasonMissing        a person's action on a ticket needs its reason
│   ├── RouteUnknown         no such route
│   ├── HoursInvalid         opening hours or their time zone make no sense
│   └── in their modules: SortUnknown, PlotRefused, ImportRefused, TokenUnknown, UnknownReference, ValueRefused,
│       NotKnown, KnownAlready, BackupExists, BackupUnusable, DatabaseEmpty, DatabaseNotEmpty,
│       NameRefused, RequestRefused, CertificateUnknown, FileInTheWay, ServerMissing, OptionRefused,
│       MaintenanceRefused, MaintenanceUnknown, MaintenanceOver, ExportTooLong, KeyUnusable,
│       ReleaseRefused, RepositoryBroken, FileUnusable, RolloutRefused, RolloutEventIllegal,
│       RolloutUnknown, QueryRefused, RolloutEnded, PersonRefused, PersonNotChanged,
│       LogUnfit
├── ClockApart               this machine and the database do not agree on the time
├── LeaseLost                another process took the tick over; what was not committed is void
└── StoreError
    ├── RowRefused           the database refuses what a row says
    └── StoreUnavailable     the database does not answer, or is busy beyond its time
        └── StoreUnreachable the way to it is broken; the message says where it was sought
"""


class CollectorError(Exception):
    """Any error of the collector; its message says what was expected and what came."""


class OperatorError(CollectorError):
    """The installation must change."""


class PolicyInvalid(OperatorError):  # noqa: N818 - the tree reads as a list of faults
    """The policy file cannot be used."""


class RoutesInvalid(OperatorError):  # noqa: N818
    """The routes file cannot be used."""


class SlaInvalid(OperatorError):  # noqa: N818
    """The file of service contracts cannot be used."""


class LeaseHeldElsewhere(OperatorError):  # noqa: N818
    """Another process ticks."""


class ProcessNameTaken(OperatorError):  # noqa: N818
    """Another process was started under this one's name."""


class CallerError(CollectorError):
    """What was asked cannot be done; nothing changed."""


class TicketUnknown(CallerError):  # noqa: N818
    """No such ticket."""


class TicketActionIllegal(CallerError):  # noqa: N818
    """The ticket's status does not take the action."""


class TicketRefused(CallerError):  # noqa: N818
    """What is said of a ticket cannot stand."""


class AttachmentRefused(TicketRefused):
    """The file is none that a ticket takes."""


class ReasonMissing(CallerError):  # noqa: N818
    """A person's action on a ticket needs its reason."""


class RouteUnknown(CallerError):  # noqa: N818
    """No such route."""


class HoursInvalid(CallerError):  # noqa: N818
    """Opening hours or their time zone make no sense."""


class ClockApart(CollectorError):  # noqa: N818
    """This machine and the database do not agree on the time."""


class LeaseLost(CollectorError):  # noqa: N818
    """Another process took the tick over; what was not committed is void."""


class StoreError(CollectorError):
    """The database cannot do what was asked."""


class RowRefused(StoreError):  # noqa: N818
    """The database refuses what a row says."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The database does not answer, or is busy beyond its time."""


class StoreUnreachable(StoreUnavailable):
    """The way to the database is broken; the message says where it was sought, which is for operators alone."""
