"""Errors of the wire, split by who is at fault.

ProtocolError
├── PeerError                what came cannot be used; the sender must change
│   ├── TopicUnknown         not a topic of the table
│   ├── PayloadTooLarge      over `PAYLOAD_BYTES_MAX`; never parsed
│   ├── VersionUnsupported   `v` is outside what this side understands
│   ├── PayloadMalformed     not the JSON that the topic asks for
│   └── IdentityMismatch     the payload speaks for another than its topic
└── OwnError                 what we wanted to send must not leave; we must change
    └── MessageTooLarge      its encoding is over `PAYLOAD_BYTES_MAX`
"""


class ProtocolError(Exception):
    """Any error of the wire; its message says what was expected and what came."""


class PeerError(ProtocolError):
    """What came cannot be used; the sender is at fault."""


class TopicUnknown(PeerError):  # noqa: N818 - the tree reads as a list of faults
    """The topic is not of the table."""


class PayloadTooLarge(PeerError):  # noqa: N818
    """The payload is over the limit and was not parsed."""


class VersionUnsupported(PeerError):  # noqa: N818
    """The payload's `v` is outside what this side understands."""


class PayloadMalformed(PeerError):  # noqa: N818
    """The payload is not the JSON that its topic asks for."""


class IdentityMismatch(PeerError):  # noqa: N818
    """The payload speaks for another terminal or process than its topic."""


class OwnError(ProtocolError):
    """What we wanted to send must not leave; our own fault."""


class MessageTooLarge(OwnError):  # noqa: N818
    """The encoding is over the limit."""
