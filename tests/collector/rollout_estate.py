"""An estate to roll out to: stores with tills that have told what they run, and two signed releases."""

from datetime import datetime
from pathlib import Path
from typing import Any

from tests.collector.release_office import Desk
from tests.collector.shell_fixtures import NOW, STREAM

from tillwatch_collector.domain.inventory import LifeCycle, Merchant, Store, Terminal
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.releases import Shelf
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store as Database
from tillwatch_protocol import codec, topics
from tillwatch_protocol.heartbeat import Connection, Heartbeat
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health

TARGET = "till/till-2.1.0.tar.gz"
STORES, TILLS = 10, 2
OPEN = (("08:00", "20:00"),)
WEEK: Any = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), OPEN)
CHOSEN = "merchant=markt till<=2.1"
LEFT_OUT = {"s00-t0": "installed", "spare": "not_live"}


def estate(database: Database, now: datetime = NOW) -> None:
    """Describe ten stores in Shanghai with two tills each, of which one runs the release already, and a spare."""
    tills = {f"s{store:02}-t{till}": f"s{store:02}" for store in range(STORES) for till in range(TILLS)}
    with database.transaction() as repository:
        inventory = Inventory(repository.connection)
        inventory.put_merchant(Merchant(merchant_id="markt", name="Markt"), now)
        for store_id in sorted(set(tills.values())):
            inventory.put_store(
                Store(
                    store_id=store_id,
                    merchant_id="markt",
                    name=f"Shop {store_id}",
                    region="east",
                    time_zone="Asia/Shanghai",
                    opening_hours=WEEK,
                ),
                now,
            )
        for terminal_id, store_id in tills.items():
            inventory.put_terminal(Terminal(terminal_id=terminal_id, store_id=store_id, model="A920"), now)
        spare = Terminal(terminal_id="spare", store_id="s01", model="A920", life_cycle=LifeCycle.SPARE)
        inventory.put_terminal(spare, now)
    with database.transaction() as repository:
        said = [_told(terminal_id, "2.1.0" if terminal_id == "s00-t0" else "2.0", now) for terminal_id in tills]
        ingest(repository, [*said, _told("spare", "2.0", now)], now)


def shelf(folder: Path) -> Shelf:
    """Sign and publish the release that is rolled out."""
    return Shelf(office(folder).folder)


def office(folder: Path) -> Desk:
    """Return the people who sign, with the release published."""
    desk = Desk(folder / "releases").opened()
    desk.bring("2.1.0", models=["A920"])
    return desk


def _told(terminal_id: str, version: str, at: datetime) -> Delivery:
    runs = Reading(component="application:till", health=Health.OK, facts={"version": version})
    heartbeat = Heartbeat(
        terminal_id=terminal_id,
        connection=Connection(stream_id=STREAM, boot_epoch=1, connection_no=1),
        beat_no=1,
        interval_s=60,
        event_seq_last=0,
        sent_at=at,
        host_boot_id="boot-1",
        agent_version="1.0",
        components=(runs, Reading(component="pos_printer:1", health=Health.OK)),
    )
    topic = topics.HEARTBEAT.of(terminal_id)
    return Delivery(topic=topic, payload=codec.encode(heartbeat), retained=False, received_at=at)
