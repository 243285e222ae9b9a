"""A fleet's way back: real TLS connections, each with its own certificate, after the broker was killed.

Agents' cores decide when to dial; their back-off spreads them over seconds. Terminals and broker share this machine's
processors, so a part of the time is the terminals' own handshakes.
"""

import resource
import ssl
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.figures import Experiment, Figure, Progress
from tests.live.certificates import Authority

from tillwatch_agent.publisher import Broker
from tillwatch_collector import pki
from tillwatch_simulator import scenario
from tillwatch_simulator.fleet import Fleet

SEED = 20261121
TERMINALS = 2_000
INTERVAL_S = 60
STABLE_S = 35.0
"""A connection that lasted half a minute has forgotten the back-off before it."""

DOWN_S = 2.0
WAIT_S = 300.0
FILES_SPARE = 500


def reconnect(progress: Progress) -> dict[str, float]:
    """Connect all, kill the broker, start it again, and wait until all are back."""
    allow_files(TERMINALS + FILES_SPARE)
    with tempfile.TemporaryDirectory() as name:
        authority = Authority(Path(name))
        broker = authority.broker(Path(name) / "mosquitto")
        contexts = _contexts(authority, progress)
        names = list(contexts)
        with (
            broker,
            Fleet(
                terminal_ids=names,
                interval_s=INTERVAL_S,
                seed=SEED,
                broker=lambda terminal_id: Broker(
                    host=broker.host, port=broker.port, tls=lambda: contexts[terminal_id]
                ),
            ) as fleet,
        ):
            _until_connected(fleet, progress)
            time.sleep(STABLE_S)
            broker.kill()
            time.sleep(DOWN_S)
            broker.start()
            took_s = _until_connected(fleet, progress)
            broker.kill()  # nobody says goodbye two thousand times
    return {"reconnect_all_s": round(took_s, 1)}


def _contexts(authority: Authority, progress: Progress) -> dict[str, ssl.SSLContext]:
    """A certificate for each terminal, in one go."""
    contexts: dict[str, ssl.SSLContext] = {}
    papers = authority.ca / "terminal.pem"
    with pki.opened(authority.ca) as opened:
        for number in range(1, TERMINALS + 1):
            name = scenario.terminal_id(number)
            issued = opened.issue(pki.Kind.TERMINAL, name, public_key=None, now=datetime.now(UTC))
            papers.write_bytes(issued.certificate + (issued.key or b""))
            contexts[name] = ssl.create_default_context(cafile=authority.ca / "ca.crt")
            contexts[name].load_cert_chain(papers)
            progress(number, TERMINALS, "certificates")
    return contexts


def _until_connected(fleet: Fleet, progress: Progress) -> float:
    """Seconds until all are connected."""
    began_s = time.monotonic()
    while (connected := fleet.totals().connected) < TERMINALS:
        assert time.monotonic() - began_s < WAIT_S, f"{connected} of {TERMINALS} connected after {WAIT_S:.0f} s"
        progress(connected, TERMINALS, "connected over TLS")
        time.sleep(0.1)
    return time.monotonic() - began_s


def allow_files(files: int) -> None:
    """Let this process, and those that it starts, open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))


EXPERIMENTS = (
    Experiment(
        name="reconnect",
        door="bench",
        seed=SEED,
        run=reconnect,
        figures=(
            Figure(
                name="reconnect_all_s",
                unit="s",
                aim=None,
                says=f"until {TERMINALS:,} terminals are all connected again over TLS after the broker's restart",
            ),
        ),
    ),
)
