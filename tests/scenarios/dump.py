"""The facts of a store in one canonical form: what must not depend on order or repetition (store/tables.py).

Left out is what tells when and in what order the collector heard: `received_at`, `first_heard_at`, `stream_no`.
"""

from sqlalchemy import text

from tillwatch_collector.store.session import Store

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


def facts_of(store: Store) -> dict[str, list[str]]:
    """Return every fact as a line of text, by table, sorted."""
    with store.reading() as connection:
        return {
            table: sorted(repr(tuple(row)) for row in connection.execute(text(f"SELECT {columns} FROM {table}")))
            for table, columns in _FACTS.items()
        }


def difference(one: dict[str, list[str]], other: dict[str, list[str]]) -> str | None:
    """Say where two stores differ first; None when they are equal."""
    for table, rows in one.items():
        if rows != other[table]:
            only = sorted(set(rows) ^ set(other[table]))
            return f"{table}: {len(rows)} rows against {len(other[table])}; differs {only[:2]}"
    return None
