"""The facts of a store in one canonical form: what must not depend on order, on repetition, or on the database.

Left out is what tells when and in what order the collector heard: `received_at`, `first_heard_at`, `stream_no`.
"""

import json
import re
from typing import Any

from sqlalchemy import select

from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table

_FACTS = {
    "stream": "terminal_id, stream_id, prefix_seq, accounted, oldest_seq, event_seq_last",
    "event": "terminal_id, stream_id, event_seq, boot_epoch, kind, component, code, detail, job, happened_at, digest",
    "event_gap": "terminal_id, stream_id, kind, first_seq, last_seq",
    "level": "terminal_id, stream_id, boot_epoch, beat_no, connection_no, interval_s, event_seq_last, host_boot_id,"
    " agent_version, collector_epoch_seen, sent_at, components, job, digest",
    "presence": "terminal_id, stream_id, boot_epoch, connection_no, state, reason",
    "sighting": "terminal_id",
    "terminal": "terminal_id",
}

_JUDGEMENTS = {
    "standing": "terminal_id, presence, reason, since",
    "condition": "terminal_id, component, code, phase, phase_since, happened_at, detail",
    "fault": "terminal_id, component, code, severity, happened_at, raised_at, cleared_at, ticket_id",
    "ticket": "ticket_id, subject_kind, subject_id, component, code, status, severity, opened_at, updated_at,"
    " resolved_at, closed_at, recurrences, title, parent_id, merged_into_id",
    "outage": "node_kind, node_id, component, code, ticket_id, began_at, detected_at, ended_at, terminals_hit,"
    " terminals_total, evidence",
    "journal": "ticket_id, at, actor, action, from_status, to_status, reason, evidence",
}

_OFFSET = re.compile(r'"clock_offset_s": [^,}]+, ')


def facts_of(store: Store) -> dict[str, list[str]]:
    """Return every fact as a line of text, by table, sorted."""
    return _dump(store, _FACTS)


def judgements_of(store: Store) -> dict[str, list[str]]:
    """Return every judgement as a line of text, by table, sorted; these tell when the collector heard and judged.

    Left out is how far a clock seems to be ahead: an estimate, from those heartbeats that judge happened to look at.
    """
    return {name: [_OFFSET.sub("", line) for line in lines] for name, lines in _dump(store, _JUDGEMENTS).items()}


def difference(one: dict[str, list[str]], other: dict[str, list[str]]) -> str | None:
    """Say where two stores differ first; None when they are equal."""
    for table, rows in one.items():
        if rows != other[table]:
            only = sorted(set(rows) ^ set(other[table]))
            return f"{table}: {len(rows)} rows against {len(other[table])}; differs {only[:2]}"
    return None


def _dump(store: Store, tables: dict[str, str]) -> dict[str, list[str]]:
    with store.reading() as connection:
        return {
            name: sorted(_line(row) for row in connection.execute(_every(name, columns)))
            for name, columns in tables.items()
        }


def _every(name: str, columns: str) -> Any:
    table = Table.metadata.tables[name]
    return select(*(table.c[column] for column in columns.split(", ")))


def _line(row: Any) -> str:
    """Write a row as text; PostgreSQL keeps the keys of JSON in an order of its own."""
    return json.dumps(tuple(row), sort_keys=True, default=str)
