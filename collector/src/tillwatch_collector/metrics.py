"""What the collector counts of itself, for Prometheus: one registry for each process, never the library's global one.

Counters only grow; gauges are set by the engine at each tick, so that a scrape costs no query.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tillwatch_collector.store.views import FleetView

_TICK_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = self._counter("messages", "Messages taken in, by what they were.", "kind")
        self.quarantined = self._counter("quarantined", "Messages that could not be used.")
        self.events_stored = self._counter("events_stored", "Events stored.")
        self.events_lost = self._gauge("events_lost", "Events known to be lost, over all time.")
        self.events_dropped = self._gauge("events_dropped", "Events that terminals declared dropped, over all time.")
        self.acks_sent = self._counter("acks_sent", "Acknowledgements handed to the broker.")
        self.acks_dropped = self._counter(
            "acks_dropped", "Acknowledgements that could not leave; the events come again."
        )
        self.job_messages = self._counter("job_messages", "Words to terminals on their jobs.", "kind")
        self.job_messages_dropped = self._counter(
            "job_messages_dropped", "Words to terminals on their jobs that could not leave; they come again.", "kind"
        )
        self.commands = self._counter("commands", "Commands to terminals.", "kind")
        self.commands_dropped = self._counter(
            "commands_dropped", "Commands to terminals that could not leave; they are said again, or lapse.", "kind"
        )
        self.ticket_moves = self._counter("ticket_moves", "What became of tickets.", "move")
        self.tickets_open = self._gauge("tickets_open", "Open tickets.", "severity")
        self.terminals = self._gauge("terminals", "Terminals.", "presence")
        self.queue = self._gauge("queue_messages", "Messages that wait to be taken in.")
        self.listening_s = self._counter("listening_seconds", "Time in which the collector heard.")
        self.blind_s = self._counter("blind_seconds", "Time in which the collector did not hear.")
        self.engine_failures = self._counter("engine_failures", "Rounds of the engine that failed and were repeated.")
        self.ticking = self._gauge("ticking", "Whether this process is the one that judges.")
        self.tick_s = Histogram(
            "tillwatch_tick_seconds", "Time of one tick of judge.", registry=self.registry, buckets=_TICK_BUCKETS_S
        )

        self.samples = self._counter("samples", "Samples of measures that were kept.")
        self.upkeep_rows = self._counter("upkeep_rows", "Rows that upkeep rolled up or deleted.", "chore")
        self.upkeep_s = Histogram(
            "tillwatch_upkeep_seconds", "Time of one step of upkeep.", registry=self.registry, buckets=_TICK_BUCKETS_S
        )
        self.rollups_waiting = self._gauge("rollups_waiting_hours", "Hours that are over and not rolled up.")

        self.notifications = self._counter(
            "notifications", "Attempts to send a message to a route, by what came of them.", "route", "outcome"
        )
        self.notifications_due = self._gauge("notifications_due", "Messages that are to be sent, or are held.")

    def forget_fleet(self) -> None:
        """Show no fleet: another process does."""
        self.terminals.clear()
        self.tickets_open.clear()

    def set_fleet(self, fleet: FleetView) -> None:
        """Show the fleet as it stands; what is no longer there is no longer shown."""
        shown = ((self.terminals, fleet.terminals_by_presence), (self.tickets_open, fleet.open_tickets_by_severity))
        for gauge, counts in shown:
            gauge.clear()
            for label, count in counts.items():
                gauge.labels(label).set(count)
        self.events_lost.set(fleet.events.lost)
        self.events_dropped.set(fleet.events.dropped)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"tillwatch_{name}", says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(f"tillwatch_{name}", says, labels, registry=self.registry)
