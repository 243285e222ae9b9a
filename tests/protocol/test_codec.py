import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.examples import AT, EXAMPLES, heartbeat, mutated

from tillwatch_protocol import codec, topics
from tillwatch_protocol.errors import (
    IdentityMismatch,
    MessageTooLarge,
    PayloadMalformed,
    PayloadTooLarge,
    PeerError,
    TopicUnknown,
    VersionUnsupported,
)
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.topics import Message
from tillwatch_protocol.vocabulary import PAYLOAD_BYTES_MAX, Health

HEARTBEAT = topics.HEARTBEAT.of("till-7")
GOOD = codec.encode(heartbeat())


@pytest.mark.parametrize(("topic", "message"), [*EXAMPLES.items()], ids=[*EXAMPLES])
def test_every_message_comes_back_as_it_was_sent(topic: str, message: Message) -> None:
    assert codec.decode(topic, codec.encode(message)) == message


def test_unknown_fields_of_a_newer_peer_are_accepted() -> None:
    payload = GOOD.replace(b'{"v":1,', b'{"v":1,"mood":{"deep":[1,2]},', 1)
    assert codec.decode(HEARTBEAT, payload) == heartbeat()


def test_unknown_codes_kinds_and_measures_are_accepted() -> None:
    strange = Reading(
        component="espresso_machine:bar_2",
        health=Health.FAULT,
        conditions=(Condition(code="grinder_jammed", since=AT),),
        measures={"beans_pct": 3},
    )
    message = heartbeat(components=(strange,))
    assert codec.decode(HEARTBEAT, codec.encode(message)) == message


REFUSED = {
    # what came -> the error, and a word its message must have
    "not json": (b"hello", PayloadMalformed, "Invalid JSON"),
    "empty": (b"", PayloadMalformed, "Invalid JSON"),
    "not utf-8": (GOOD.replace(b"till-7", b"till\xff7"), PayloadMalformed, "payload"),
    "a list": (b"[]", PayloadMalformed, "payload"),
    "a field missing": (GOOD.replace(b'"beat_no":41,', b""), PayloadMalformed, "beat_no"),
    "NaN": (GOOD.replace(b"41.5", b"NaN"), PayloadMalformed, "measures"),
    "a number too large to be finite": (GOOD.replace(b"41.5", b"1e400"), PayloadMalformed, "measures"),
    "a number too long": (GOOD.replace(b'"beat_no":41', b'"beat_no":' + b"9" * 30), PayloadMalformed, "beat_no"),
    "a number with 5,000 digits": (GOOD.replace(b'"beat_no":41', b'"beat_no":' + b"9" * 5000), PayloadMalformed, ""),
    "a number in quotes": (GOOD.replace(b'"beat_no":41', b'"beat_no":"41"'), PayloadMalformed, "beat_no"),
    "true for a number": (GOOD.replace(b'"beat_no":41', b'"beat_no":true'), PayloadMalformed, "beat_no"),
    "zero where counting begins at one": (GOOD.replace(b'"beat_no":41', b'"beat_no":0'), PayloadMalformed, "beat_no"),
    "a NUL in text": (GOOD.replace(b"lid", b"l\\u0000d"), PayloadMalformed, "detail"),
    "half a character": (GOOD.replace(b"lid", b"l\\ud800d"), PayloadMalformed, "payload"),
    "a text too long": (GOOD.replace(b"lid", b"l" * 513), PayloadMalformed, "512"),
    "a line break in an id": (GOOD.replace(b'"till-7"', b'"till-7\\n"'), PayloadMalformed, "terminal_id"),
    "a code with capitals": (GOOD.replace(b"cover_open", b"Cover_Open"), PayloadMalformed, "code"),
    "an unknown health": (GOOD.replace(b'"fault"', b'"fine"'), PayloadMalformed, "health"),
    "a time without a zone": (GOOD.replace(b"08:00:00Z", b"08:00:00"), PayloadMalformed, "timezone"),
    "a time as a number": (GOOD.replace(b'"2026-11-21T08:00:00Z"', b"1795248000"), PayloadMalformed, "RFC 3339"),
    "a time before any clock": (GOOD.replace(b"2026-11", b"0001-01"), PayloadMalformed, "1970"),
    "nesting without end": (b'{"v":1,"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", PayloadMalformed, "recursion"),
    "another version": (b'{"v":2,"entirely":"different"}', VersionUnsupported, "got 2"),
    "another version, else the same": (GOOD.replace(b'"v":1', b'"v":0'), VersionUnsupported, "got 0"),
    "somebody else's id": (GOOD.replace(b"till-7", b"till-8"), IdentityMismatch, "till-8"),
    "too large": (GOOD + b" " * PAYLOAD_BYTES_MAX, PayloadTooLarge, str(PAYLOAD_BYTES_MAX)),
}  # fmt: skip


@pytest.mark.parametrize(("payload", "error", "word"), [*REFUSED.values()], ids=[*REFUSED])
def test_what_cannot_be_used_is_refused_with_its_reason(payload: bytes, error: type[PeerError], word: str) -> None:
    with pytest.raises(error) as raised:
        codec.decode(HEARTBEAT, payload)
    assert word in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_message_at_the_size_limit_is_read_and_one_byte_more_is_not() -> None:
    fill = b" " * (PAYLOAD_BYTES_MAX - len(GOOD))
    assert codec.decode(HEARTBEAT, GOOD + fill) == heartbeat()
    with pytest.raises(PayloadTooLarge):
        codec.decode(HEARTBEAT, GOOD + fill + b" ")


def test_what_would_be_too_large_never_leaves() -> None:
    big = tuple(
        Reading(component=f"scanner:{n}", health=Health.OK, facts={f"fact_{k}": "x" * 500 for k in range(32)})
        for n in range(8)
    )
    with pytest.raises(MessageTooLarge):
        codec.encode(heartbeat(components=big))


UNKNOWN_TOPICS = [
    "", "tillwatch/v1", "tillwatch/v2/t/till-7/up/heartbeat", "tillwatch/v1/t/till-7/up/gossip",
    "tillwatch/v1/t/till.7/up/heartbeat",  # a dot belongs to processes
    "tillwatch/v1/c/collector/state",  # a process without its dot could be a terminal
    "tillwatch/v1/t/till-7/state", "tillwatch/v1/c/collector.1/up/heartbeat",
    "tillwatch/v1/t/till-7/up/heartbeat/", "tillwatch/v1/t/+/up/heartbeat",
    "tillwatch/v1/t/" + "a" * 65 + "/up/heartbeat",
    "tillwatch/v1/t/till-7\n/up/heartbeat", "tillwatch/v1/t/till-7/up/heartbeat\n",
]  # fmt: skip


@pytest.mark.parametrize("topic", UNKNOWN_TOPICS)
def test_a_topic_outside_the_table_is_unknown(topic: str) -> None:
    with pytest.raises(TopicUnknown):
        codec.decode(topic, GOOD)


def test_every_topic_of_the_table_finds_its_own_row() -> None:
    for row in topics.TOPICS:
        owner = "collector.1" if row.direction is topics.Direction.OWN else "till-7"
        assert topics.parse(row.of(owner)) == topics.Address(topic=row, owner=owner)
        assert row.filter.count("+") == 1


@given(st.sampled_from(sorted(EXAMPLES)), st.integers(0, 2**32))
def test_mutated_payloads_are_read_or_refused_and_nothing_else(topic: str, seed: int) -> None:
    payload = mutated(codec.encode(EXAMPLES[topic]), random.Random(seed))
    try:
        message = codec.decode(topic, payload)
    except PeerError:
        return
    assert codec.decode(topic, codec.encode(message)) == message
