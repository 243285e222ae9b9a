"""Serve the console alone over a database, as the `web` role does, on a free port, which it says first.

    python -m tests.bench.page_server sqlite:////tmp/fleet.db

Nobody listens and nobody judges: the terminals of a seeded fleet do not speak, and would all be called silent.
"""

import sys
from datetime import UTC, datetime

import uvicorn
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
    with hosting.bound(WebConfig(port=0)) as listener:
        listener.listen()
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        settings = uvicorn.Config(
            web.create(context),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=hosting.KEEP_ALIVE_S,
        )
        uvicorn.Server(settings).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1])
