"""Somebody in a collector's place: acknowledges what comes, offers releases, and lets a job have its go."""

from collections.abc import Callable

from tests.agent import till_release
from tests.agent.release_site import NOW
from tests.agent.till import Till

from tillwatch_agent.core import Outgoing, Publish, Received
from tillwatch_agent.publisher import Broker, Loop
from tillwatch_protocol import codec, topics
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobState
from tillwatch_protocol.topics import Topic

JOB = "r1-t1.1"
ENDS = frozenset({JobState.SUCCEEDED, JobState.ROLLED_BACK, JobState.FAILED, JobState.REJECTED, JobState.CANCELLED})


def ended(beat: Heartbeat, job_id: str | None = None) -> bool:
    """Whether the newest job is over, and is that one."""
    return beat.job is not None and beat.job.state in ENDS and job_id in {None, beat.job.job_id}


def facts_of(beat: Heartbeat, component: str = "application:till") -> dict[str, str]:
    return next((dict(reading.facts) for reading in beat.components if reading.component == component), {})


class Collector(Till):
    """Somebody who acknowledges, and lets a job have its go."""

    def __init__(self, loop: Loop, name: str, broker: Broker) -> None:
        super().__init__(loop, name, broker)
        self.told: list[JobState] = []

    def send(self, topic: Topic, message: JobMessage | Ack) -> None:
        outgoing = Outgoing(topic.of("till-1"), codec.encode(message), topic.qos, topic.retain)
        self.do(Publish(outgoing))

    def offer(self, version: str, job_id: str = JOB) -> None:
        self.offer_target(till_release.target_of(version), job_id)

    def offer_target(self, target: str, job_id: str) -> None:
        kind = JobMessageKind.OFFER
        self.send(topics.JOBS, JobMessage(terminal_id="till-1", kind=kind, job_id=job_id, target=target))

    def drive(self, wanted: Callable[[Heartbeat], bool]) -> Heartbeat:
        """Answer what comes as a collector does, until a heartbeat is wanted."""
        while True:
            received = self.wait_for(Received)
            if not received.topic.startswith(topics.ROOT):
                continue
            message = codec.decode(received.topic, received.payload)
            if isinstance(message, EventBatch):
                self.told += [event.job.state for event in message.events if event.job]
                seq = message.events[-1].event_seq
                self.send(
                    topics.ACK, Ack(terminal_id="till-1", stream_id=message.stream_id, event_seq=seq, sent_at=NOW)
                )
            elif isinstance(message, Heartbeat):
                if wanted(message):
                    return message
                if message.job is not None and message.job.nonce is not None:
                    go = JobMessage(
                        terminal_id="till-1",
                        kind=JobMessageKind.GO,
                        job_id=message.job.job_id,
                        nonce=message.job.nonce,
                        valid_for_s=60.0,
                    )
                    self.send(topics.JOBS, go)
