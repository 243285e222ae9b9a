"""Serve the console alone over a database, as the `web` role does, on a free port; it says its address first.

    python -m tests.bench.page_server sqlite:////tmp/fleet.db

Nobody listens and nobody judges: the terminals of a seeded fleet do not speak, and would all be called silent.
"""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from tillwatch_collector import hosting, policies, web
from tillwatch_collector.api.context import Activity, Readiness, WebContext
from tillwatch_collector.config import WebConfig
from tillwatch_collector.desk import Desk
from tillwatch_collector.store.session import Store


def main(url: str) -> None:
    store = Store.open(url)
    began = datetime.now(UTC)
    context = WebContext(
        store=store,
        desk=Desk(store=store, policy=policies.load(None)),
        registry=CollectorRegistry(),
        settings=WebConfig(),
        now=lambda: datetime.now(UTC),
        readiness=lambda: Readiness(checks={"database": True}),
        activity=lambda: Activity(started_at=began, heartbeats=0, listening=True),
    )
    served = WebConfig(port=0)
    with hosting.bound(served) as listener, tempfile.TemporaryDirectory() as folder:
        host = hosting.WebHost(served, listener, told_in=Path(folder) / "web.json")
        host.run(web.create(context), announce=_say)


def _say(address: str) -> None:
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
