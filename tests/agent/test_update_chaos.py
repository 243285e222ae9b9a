"""The machine of a job under anything: any messages, answers, failures, times and starts, in any order."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.job_words import (
    ACTIVATION,
    JOB,
    PRINTER,
    RUNNING,
    SETTINGS,
    Machine,
    broken,
    go,
    offer,
    well,
    withdraw,
)

from tillwatch_agent import update
from tillwatch_agent.installer.order import Cause
from tillwatch_agent.job_work import Activate, Asked, Commit, Doing, Effect, Failed, Guarded, Looked, Revert
from tillwatch_protocol.job import JOB_FINAL, JobState

S = JobState

STRANGE = [
    offer(),
    offer("r2-t1.1"),
    withdraw("r9-t1.1"),
    go("0" * 16),
    Guarded(job_id=JOB, busy="sale_open"),
    Looked(job_id=JOB),
    Looked(job_id=JOB, activation_id=ACTIVATION, unhealthy="no reader"),
    Looked(job_id=JOB, given_up=True),
    *(Failed(job_id=JOB, doing=doing, reason="disk_full", cause=Cause.STORAGE) for doing in Doing),
]

MOVES = st.one_of(
    st.just("answer"),
    st.just("answer"),
    st.just("wait"),
    st.just("beat"),
    st.just("beat badly"),
    st.just("go"),
    st.just("go late"),
    st.just("withdraw"),
    st.just("start"),
    st.just("boot"),
    st.sampled_from(STRANGE),
)


class Witness:
    """Sees what one machine does, and holds it to its word."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.went = False

    def move(self, move: object) -> None:
        machine = self.machine
        before = machine.record
        match move:
            case "answer":
                effects = self._answer()
            case "wait":
                due_s = update.due_s(machine.update)
                effects = machine.say(after_s=min(max(due_s - machine.now_s, 0.0), 4000.0))
            case "beat":
                effects = machine.beat(PRINTER, RUNNING)
            case "beat badly":
                effects = machine.beat(broken("pos_printer:1", "no_response"), acknowledged=False)
            case "go" | "go late":
                effects = machine.say(go(machine.update.nonce), after_s=61.0 if move == "go late" else 1.0)
            case "withdraw":
                effects = machine.say(withdraw())
            case "start":
                self.machine = machine.restart()
                effects = self.machine.say()
            case "boot":
                self.machine = machine.restart(settings=replace(SETTINGS, host_boot_id=f"boot-{machine.now_s}"))
                effects = self.machine.say()
            case _:
                effects = machine.say(move)  # type: ignore[arg-type]  # one of STRANGE
        self._look(effects)
        record = self.machine.record
        if before is not None and record is not None and record.job_id == before.job_id and before.over:
            assert record.state is before.state

    def _answer(self) -> list[Effect]:
        asked = next((effect for effect in reversed(self.machine.effects) if isinstance(effect, Asked)), None)
        return self.machine.say(well(asked)) if asked is not None else []

    def _look(self, effects: list[Effect]) -> None:
        record = self.machine.record
        for effect in effects:
            if isinstance(effect, Activate):
                self.went = True
                assert record is not None
                assert record.state is S.SWITCHING
                assert effect.until_s is None or effect.until_s == record.go_until_s
                assert record.go_until_s is not None, "switched without a go"
            if isinstance(effect, Commit):
                assert record is not None
                assert record.committing, "kept without a proof"
            if isinstance(effect, Revert):
                assert self.went, "taken back what was never switched"
        if record is not None:
            assert record.state is not S.SUCCEEDED or record.committing


@settings(max_examples=300, deadline=None)
@given(st.lists(MOVES, max_size=60))
def test_whatever_happens_nothing_is_switched_without_a_go_nor_kept_without_a_proof(moves: list[object]) -> None:
    witness = Witness()
    witness.move(offer())
    for move in moves:
        witness.move(move)


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, max_size=40))
def test_whatever_happened_a_job_that_goes_well_from_then_on_comes_to_its_end(moves: list[object]) -> None:
    witness = Witness()
    witness.move(offer())
    for move in moves:
        witness.move(move)
    machine = witness.machine.restart()  # nothing that was asked is answered any more
    for _ in range(300):
        if machine.record is None or machine.record.state in JOB_FINAL:
            return
        if machine.update.asks:
            machine.beat(PRINTER)
            machine.say(go(machine.update.nonce, machine.record.job_id))
        elif machine.update.doing is not None:
            is_back = machine.state is S.ROLLING_BACK and machine.update.doing is Doing.LOOK
            back = Looked(job_id=machine.record.job_id, activation_id=machine.update.awaited)
            machine.answer(back if is_back else None)
        elif machine.state is S.CONFIRMING and machine.update.healthy:
            machine.beat()
        else:
            machine.wait()
    raise AssertionError(f"never ended: {machine.state}")
