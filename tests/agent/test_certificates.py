"""By whose time a broker's certificate is judged, over real TLS: times may be left out, chain and name never.

The machine that runs this has a right clock; a certificate that has not begun by it is what a till in 1970 sees of a
valid one.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent import stand
from tests.agent.authority import DAY, NOW, Authority
from tests.agent.till import Till

from tillwatch_agent.certificates import timeless
from tillwatch_agent.clock import BY_NOBODY, BY_WALL, JudgedBy, Judging
from tillwatch_agent.core import Connect, Connected, ConnectFailed
from tillwatch_agent.publisher import Broker, Loop

CONNACK = b"\x20\x02\x00\x00"
TOLD_NOW = Judging(by=JudgedBy.TOLD, at=NOW)
TOLD_LONG_AGO = Judging(by=JudgedBy.TOLD, at=NOW - 30 * DAY)

IN, OUT, TOO_EARLY = Connected(), ConnectFailed(), ConnectFailed(not_begun=True)


Facing = Callable[..., Till]


@pytest.fixture
def facing(tmp_path: Path) -> Iterator[Facing]:
    """Put a till that trusts one authority before a broker that shows a certificate."""
    own, foreign = Authority(tmp_path / "own"), Authority(tmp_path / "foreign")
    loop = Loop()
    loop.start()
    with contextlib.ExitStack() as ends:
        ends.callback(loop.stop, 0)

        def make(which: str, *, tls_timeless: bool = True) -> Till:
            pem = _certificate(which, foreign if which == "of another authority" else own)
            port = ends.enter_context(stand.tcp_server(_serving(pem)))
            without_times = (lambda: timeless(own.trusting())) if tls_timeless else None
            broker = Broker(host="localhost", port=port, tls=own.trusting, tls_timeless=without_times)
            till = Till(loop, "till-1", broker)
            ends.callback(till.publisher.abandon)
            return till

        yield make


@pytest.mark.parametrize(
    ("which", "judging", "outcome"),
    [
        # by a right clock, as ever
        ("valid", BY_WALL, IN),
        ("ended", BY_WALL, OUT),
        ("not begun", BY_WALL, TOO_EARLY),
        ("of another name", BY_WALL, OUT),
        ("of another authority", BY_WALL, OUT),
        # by nobody's: chain and name still count
        ("valid", BY_NOBODY, IN),
        ("ended", BY_NOBODY, IN),
        ("not begun", BY_NOBODY, IN),
        ("of another name", BY_NOBODY, OUT),
        ("ended, of another name", BY_NOBODY, OUT),
        ("of another authority", BY_NOBODY, OUT),
        # by what was told, which may be too early and never too late
        ("valid", TOLD_NOW, IN),
        ("ended", TOLD_NOW, OUT),
        ("ended", TOLD_LONG_AGO, IN),
        ("not begun", TOLD_NOW, IN),
        ("of another name", TOLD_NOW, OUT),
        ("of another authority", TOLD_NOW, OUT),
    ],
)
def test_times_may_be_left_out_and_chain_and_name_never(
    facing: Facing, which: str, judging: Judging, outcome: Connected | ConnectFailed
) -> None:
    till = facing(which)
    till.do(Connect(till.outgoing("will"), judging))
    assert till.wait_for(type(outcome)) == outcome


def test_without_a_context_that_leaves_times_out_every_connection_is_judged(facing: Facing) -> None:
    till = facing("ended", tls_timeless=False)
    till.do(Connect(till.outgoing("will"), BY_NOBODY))
    till.wait_for(ConnectFailed)


def test_an_end_is_told_by_its_day(facing: Facing, caplog: pytest.LogCaptureFixture) -> None:
    till = facing("ended")
    till.do(Connect(till.outgoing("will"), TOLD_NOW))
    till.wait_for(ConnectFailed)
    assert f"got one that ended {NOW - DAY:%Y-%m-%d}" in caplog.text


def _certificate(which: str, issuer: Authority) -> Path:
    begins, ends = -DAY, 20 * DAY
    if which.startswith("ended"):
        begins, ends = -20 * DAY, -DAY
    elif which == "not begun":
        begins = DAY
    host = "elsewhere.example" if which.endswith("of another name") else "localhost"
    return issuer.server("broker", begins=begins, ends=ends, host=host)


def _serving(pem: Path) -> Callable[[socket.socket], None]:
    """Answer over TLS every CONNECT, as a broker that lets anyone in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            if secured.recv(4096):
                secured.sendall(CONNACK)
                secured.recv(4096)

    return serve
