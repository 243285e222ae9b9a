"""Payloads to values and back: the one raiser of protocol errors.

Size is looked at before anything is parsed; nesting is bounded by the parser (pydantic's refuses beyond some two
hundred levels); then the version, the shape, and that the payload speaks for the owner of its topic.
"""

import json

from pydantic import ValidationError

from tillwatch_protocol import topics
from tillwatch_protocol.errors import (
    IdentityMismatch,
    MessageTooLarge,
    PayloadMalformed,
    PayloadTooLarge,
    VersionUnsupported,
)
from tillwatch_protocol.topics import Address, Direction, Message
from tillwatch_protocol.vocabulary import PAYLOAD_BYTES_MAX, VERSIONS_UNDERSTOOD


def decode(topic: str, payload: bytes) -> Message:
    """Turn what arrived on `topic` into its message; raises a `PeerError` that says what was expected and what came."""
    return decode_at(topics.parse(topic), payload)


def decode_at(address: Address, payload: bytes) -> Message:
    """As `decode`, for a topic that is parsed already."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(f"expected at most {PAYLOAD_BYTES_MAX} bytes on {address.topic.name}, got {len(payload)}")
    try:
        message = address.topic.message.model_validate_json(payload)
    except ValidationError as error:
        _raise_version_first(payload)
        raise PayloadMalformed(_said(address, error)) from None
    if message.v not in VERSIONS_UNDERSTOOD:
        raise VersionUnsupported(_version_said(message.v))
    owner = message.process if address.topic.direction is Direction.OWN else message.terminal_id  # type: ignore[union-attr]
    if owner != address.owner:
        raise IdentityMismatch(f"expected {address.owner!r}, whose topic it is, got {owner!r}")
    return message


def encode(message: Message) -> bytes:
    """Turn a message into its payload; raises `MessageTooLarge`."""
    payload = message.model_dump_json(exclude_defaults=False, exclude_none=True).encode()
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise MessageTooLarge(f"expected at most {PAYLOAD_BYTES_MAX} bytes, built {len(payload)}")
    return payload


def _raise_version_first(payload: bytes) -> None:
    """Tell a newer peer from a broken one: a payload of another version may well have another shape."""
    try:
        version = json.loads(payload).get("v")
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(version, int) and not isinstance(version, bool) and version not in VERSIONS_UNDERSTOOD:
        raise VersionUnsupported(_version_said(version))


def _version_said(version: int) -> str:
    understood = ", ".join(map(str, sorted(VERSIONS_UNDERSTOOD)))
    return f"expected v of {understood}, got {version}"


def _said(address: Address, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))[:120] or "the payload"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{address.topic.name}: {where}: {first['msg'][:200]}{more}"
