"""What a rollout does next: row by row, and over drawn lives, in which no limit is ever passed (I5, I6)."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings as running
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.collector.rollout_words import INTERVAL_S, NOW, OPEN, fleet, selection, settings, till

from tillwatch_collector.domain.exact import Arm
from tillwatch_collector.domain.gate import Evidence, GateReason, Stratum, Verdict, VerdictKind, judge
from tillwatch_collector.domain.granting import (
    Move,
    Next,
    Terminal,
    Wait,
    applied,
    back_off_s,
    next_actions,
    retried_by_person,
)
from tillwatch_collector.domain.rollout import (
    BACK_OFF_S_MAX,
    BAD,
    Grant,
    GrantEvent,
    Job,
    Outcome,
    Rollout,
    RolloutEvent,
    RolloutRefused,
    RolloutState,
    WithdrawReason,
    answered,
    outcome,
    soaked,
    step,
    tally,
)
from tillwatch_collector.domain.waves import plan
from tillwatch_collector.domain.window import Opening, WindowReason
from tillwatch_protocol.job import JobInput, JobState
from tillwatch_protocol.job import step as agent_step

S, E, G, V, J = RolloutState, RolloutEvent, Grant, GrantEvent, JobState
PLAN = settings(limits={"exposed_max": 3, "per_store_max": 2})
CLOSED = Opening(reason=WindowReason.OUTSIDE_HOURS, until=None)
SHORT = Opening(reason=WindowReason.TOO_SHORT, until=None)


def rollout(state: RolloutState = S.RUNNING, **changed: Any) -> Rollout:
    stated = {"rollout_id": "r1", "author": "person:ann", "waves": 2, "wave": 1, "wave_opened_at": NOW}
    return Rollout(**{**stated, "state": state, **changed})


def verdict(kind: VerdictKind = VerdictKind.HOLD, *reasons: GateReason, wave: int = 1) -> Verdict:
    return Verdict(wave=wave, kind=kind, reasons=reasons or (GateReason.SOAKING,), numbers={}, looks_done=0)


def job(**changed: Any) -> Job:
    return Job(**{"job_id": "j1", "terminal_id": "t1", "wave": 1, **changed})


READY = job(grant=G.OFFERED, state=J.READY, nonce="n1", offered_at=NOW, said_at=NOW)
SWITCHING = job(grant=G.GO, state=J.READY, nonce="n1", go_nonce="n1", go_at=NOW)
TWO_TILLS = {"t1": till(), "t2": till()}


def look(
    *jobs: Job,
    terminals: dict[str, Terminal] | None = None,
    of: Rollout | None = None,
    judged: Verdict | None = None,
    at_s: float = 0,
) -> Next:
    return next_actions(
        of or rollout(),
        PLAN,
        jobs,
        TWO_TILLS if terminals is None else terminals,
        verdict=judged or verdict(),
        now=NOW + timedelta(seconds=at_s),
    )


def move(event: GrantEvent, **changed: Any) -> Move:
    return Move(event=event, job_id="j1", **changed)


OFFER, GO, LAPSE = move(V.OFFER), move(V.GO, nonce="n1"), move(V.LAPSE)
UNREACHED = move(V.WITHDRAW, withdrawn_for=WithdrawReason.NOT_REACHED)
REACH_S = PLAN.job.reach_s
WAITS_AFTER = {V.RETRY: [Wait.BACK_OFF], V.LAPSE: [Wait.PREPARING]}
"""What a job waits for when that was done."""


@pytest.mark.parametrize(
    ("given", "terminals", "at_s", "expected"),
    [
        # an offer goes to who was heard within two intervals, window or not
        (job(), {"t1": till()}, 0, OFFER),
        (job(), {"t1": till(window=CLOSED)}, 0, OFFER),
        (job(), {"t1": till(heard_s_ago=120)}, 0, OFFER),
        (job(), {"t1": till(heard_s_ago=121)}, 0, Wait.NOT_HEARD),
        (job(), {"t1": till(heard_s_ago=None)}, 0, Wait.NOT_HEARD),
        (job(), {}, 0, Wait.NOT_HEARD),
        # at most once an interval, until the heartbeat shows it
        (job(grant=G.OFFERED, offered_at=NOW, said_at=NOW), {"t1": till()}, 59, Wait.OFFERED),
        (job(grant=G.OFFERED, offered_at=NOW, said_at=NOW), {"t1": till()}, 60, OFFER),
        (job(grant=G.OFFERED, offered_at=NOW, said_at=NOW), {"t1": till(shows="j1.1")}, 60, Wait.PREPARING),
        # what its heartbeat shows is another job, or another try: it has lost this one
        (job(grant=G.OFFERED, said_at=NOW, state=J.ACCEPTED), {"t1": till(shows="j1.0")}, 60, OFFER),
        # after a failed try it backs off
        (job(not_before=NOW + timedelta(seconds=1)), {"t1": till()}, 0, Wait.BACK_OFF),
        (job(not_before=NOW), {"t1": till()}, 0, OFFER),
        # whom another rollout has a job of
        (job(), {"t1": till(taken=True)}, 0, Wait.TAKEN),
        (READY, {"t1": till(taken=True), "t2": till()}, 0, Wait.TAKEN),
        # who asks, switches
        (READY, TWO_TILLS, 0, GO),
        (READY, {"t1": till()}, 0, GO),
        # only while it is heard, at its store, and in its window for long enough
        (READY, {"t1": till(heard_s_ago=121), "t2": till()}, 0, Wait.NOT_HEARD),
        (READY, {"t2": till()}, 0, Wait.NOT_HEARD),
        (READY, {"t1": till(window=CLOSED), "t2": till()}, 0, Wait.OUTSIDE_WINDOW),
        (READY, {"t1": till(window=SHORT), "t2": till()}, 0, Wait.WINDOW_TOO_SHORT),
        (replace(READY, nonce=None), TWO_TILLS, 0, Wait.PREPARING),
        # while the store keeps another till that is heard, and that no other rollout switches
        (READY, {"t1": till(), "t2": till(heard_s_ago=121)}, 0, Wait.STORE_LAST_TILL),
        (READY, {"t1": till(), "t2": till(busy=True)}, 0, Wait.STORE_MAX),
        (READY, {"t1": till(), "t2": till(busy=True), "t3": till(heard_s_ago=None)}, 0, Wait.STORE_LAST_TILL),
        (READY, {"t1": till(), "t2": till(busy=True), "t3": till()}, 0, GO),
        (
            READY,
            {"t1": till(), **{f"b{n}": till(busy=True) for n in range(2)}, "t3": till(), "t4": till()},
            0,
            Wait.STORE_MAX,
        ),
        # what has its go is waited for; a go that went unused is taken back
        (SWITCHING, TWO_TILLS, 0, Wait.SWITCHING),
        (replace(SWITCHING, state=J.CONFIRMING), TWO_TILLS, REACH_S, Wait.SWITCHING),
        (replace(SWITCHING, nonce="n2"), TWO_TILLS, 0, LAPSE),
        (replace(SWITCHING, state=J.STAGED), TWO_TILLS, 0, LAPSE),
        # whom the wave's time was not enough to reach
        (job(), TWO_TILLS, REACH_S - 1, Wait.NOT_HEARD),
        (job(), TWO_TILLS, REACH_S, UNREACHED),
        (READY, TWO_TILLS, REACH_S, UNREACHED),
        # a withdrawal may be lost: it goes again while the heartbeat shows the job
        (job(grant=G.WITHDRAWN, said_at=NOW), {"t1": till(shows="j1.1")}, 59, None),
        (job(grant=G.WITHDRAWN, said_at=NOW), {"t1": till(shows="j1.1")}, 60, UNREACHED),
        (job(grant=G.WITHDRAWN, said_at=NOW), {"t1": till(shows="j1.1", heard_s_ago=121)}, 60, None),
        (job(grant=G.WITHDRAWN, said_at=NOW), {"t1": till()}, 60, None),
        (job(grant=G.WITHDRAWN, said_at=NOW), {}, 60, None),
        # what is over is over, or tried again
        (replace(SWITCHING, state=J.SUCCEEDED, ended_at=NOW), TWO_TILLS, 0, None),
        (
            job(grant=G.OFFERED, state=J.FAILED, reason="disk_full"),
            TWO_TILLS,
            0,
            move(V.RETRY, not_before=NOW + timedelta(seconds=600), burns=True),
        ),
        (
            job(grant=G.OFFERED, state=J.FAILED, reason="dns_failure", try_no=3),
            TWO_TILLS,
            0,
            move(V.RETRY, not_before=NOW + timedelta(seconds=2400)),
        ),
        # of a wave that has not begun
        (job(wave=2), TWO_TILLS, 0, None),
    ],
)
def test_what_is_done_for_one_job(
    given: Job, terminals: dict[str, Terminal], at_s: float, expected: Move | Wait | None
) -> None:
    found = look(given, terminals=terminals, at_s=at_s)
    if isinstance(expected, Move):
        assert found.moves == (expected,)
        assert [*found.waits.values()] == WAITS_AFTER.get(expected.event, [])
    else:
        assert found.moves == ()
        assert [*found.waits.values()] == ([] if expected is None else [expected])


def test_nothing_gets_its_go_without_the_gates_word_on_the_open_wave() -> None:
    for judged in (None, verdict(VerdictKind.PASS, GateReason.PASSED, wave=2)):
        found = next_actions(rollout(), PLAN, [READY], TWO_TILLS, verdict=judged, now=NOW)
        assert (found.moves, found.waits) == ((), {"j1": Wait.NO_VERDICT})


def test_while_the_infrastructure_is_doubted_nothing_more_is_exposed_unless_a_person_answers_for_it() -> None:
    doubted = verdict(VerdictKind.HOLD, GateReason.RUNNING, GateReason.INFRASTRUCTURE)
    assert look(READY, judged=doubted).waits == {"j1": Wait.INFRASTRUCTURE}
    assert look(READY, judged=doubted, of=answered(rollout())).moves == (GO,)


@pytest.mark.parametrize(
    ("state", "judged", "expected"),
    [
        # a halt ends it, paused or not, and comes before everything
        (S.RUNNING, verdict(VerdictKind.HALT, GateReason.HARM), Next(waits={}, event=E.HALT)),
        (S.PAUSED, verdict(VerdictKind.HALT, GateReason.HARM), Next(waits={}, event=E.HALT)),
        # what is paused says so
        (S.PAUSED, verdict(VerdictKind.PASS, GateReason.PASSED), Next(waits={"j1": Wait.PAUSED})),
        # nothing runs yet, or any more
        (S.DRAFT, verdict(), Next(waits={})),
        (S.AWAITING_APPROVAL, verdict(), Next(waits={})),
        (S.COMPLETED, verdict(), Next(waits={})),
        # what has no go is withdrawn
        (S.HALTED, verdict(), Next(waits={}, moves=(move(V.WITHDRAW, withdrawn_for=WithdrawReason.HALTED),))),
        (S.ABORTED, verdict(), Next(waits={}, moves=(move(V.WITHDRAW, withdrawn_for=WithdrawReason.ABORTED),))),
    ],
)
def test_in_each_state_it_does_what_that_allows(state: RolloutState, judged: Verdict, expected: Next) -> None:
    second = job(job_id="j2", terminal_id="t2", grant=G.GO, go_at=NOW, state=J.SUCCEEDED, ended_at=NOW)
    assert look(READY, second, of=rollout(state), judged=judged) == expected


def test_what_has_its_go_is_never_withdrawn() -> None:
    for state in (S.HALTED, S.ABORTED):
        assert look(SWITCHING, of=rollout(state)).moves == ()
    assert look(SWITCHING, at_s=REACH_S).moves == ()


WANTING = verdict(VerdictKind.HOLD, GateReason.TOO_FEW_CONTROLS)


@pytest.mark.parametrize(
    ("of", "judged", "opens_wave", "event"),
    [
        # the first needs no gate, the others do
        (rollout(wave=0, wave_opened_at=None), None, 1, None),
        (rollout(), verdict(VerdictKind.PASS, GateReason.PASSED), 2, None),
        (rollout(), verdict(VerdictKind.HOLD), None, None),
        (rollout(), None, None, None),
        # a verdict on another wave is none
        (rollout(wave=2, waves=3), verdict(VerdictKind.PASS, GateReason.PASSED), None, None),
        # want of evidence holds, until a person answers for it; what waiting ends, nobody answers for
        (rollout(), WANTING, None, None),
        (rollout(answered=frozenset({1})), WANTING, 2, None),
        (rollout(answered=frozenset({2})), WANTING, None, None),
        (rollout(answered=frozenset({1})), verdict(VerdictKind.HOLD, GateReason.SOAKING), None, None),
        (rollout(answered=frozenset({1})), verdict(VerdictKind.HALT, GateReason.HARM), None, E.HALT),
        # the last opens none: nobody is left to compare it with, and it is complete
        (rollout(waves=1), verdict(VerdictKind.PASS, GateReason.PASSED), None, E.COMPLETE),
        (rollout(waves=1), WANTING, None, E.COMPLETE),
        (rollout(waves=1), verdict(VerdictKind.HOLD, GateReason.SOAKING), None, None),
        (rollout(waves=1), None, None, None),
    ],
)
def test_when_the_next_wave_begins_or_the_last_is_done(
    of: Rollout, judged: Verdict | None, opens_wave: int | None, event: RolloutEvent | None
) -> None:
    found = next_actions(of, PLAN, [], {}, verdict=judged, now=NOW)
    assert (found.opens_wave, found.event) == (opens_wave, event)


def test_the_limits_are_kept_within_one_look() -> None:
    jobs = [replace(READY, job_id=f"j{n}", terminal_id=f"t{n}") for n in range(9)]
    one_each = {f"t{n}": till(f"s{n}") for n in range(9)}
    found = look(*jobs, terminals=one_each)
    assert (len(found.moves), Counter(found.waits.values())) == (3, Counter({Wait.EXPOSED_MAX: 6}))
    of_one = {f"t{n}": till("s1") for n in range(9)}
    found = look(*jobs, terminals=of_one)
    assert (len(found.moves), Counter(found.waits.values())) == (2, Counter({Wait.STORE_MAX: 7}))


def test_so_many_downloads_as_may_begin_in_a_minute_begin() -> None:
    stated = settings(job={"offers_per_minute_max": 2})
    jobs = [job(job_id=f"j{n}", terminal_id=f"t{n}") for n in range(4)]
    terminals = {f"t{n}": till(f"s{n}") for n in range(4)}
    found = next_actions(rollout(), stated, jobs, terminals, verdict=verdict(), now=NOW)
    assert len(found.moves) == 2
    assert list(found.waits.values()) == [Wait.OFFERS_MAX] * 2
    begun = [applied(each, Move(event=V.OFFER, job_id=each.job_id), NOW) for each in jobs[:2]]
    for at_s, more in ((59, 0), (60, 2)):
        now = NOW + timedelta(seconds=at_s)
        found = next_actions(rollout(), stated, [*begun, *jobs[2:]], terminals, verdict=verdict(), now=now)
        assert len([each for each in found.moves if each.job_id in {"j2", "j3"}]) == more


def test_moves_are_written_into_the_job() -> None:
    offered = applied(job(), OFFER, NOW)
    assert (offered.grant, offered.offered_at, offered.said_at) == (G.OFFERED, NOW, NOW)
    later = NOW + timedelta(minutes=1)
    assert replace(applied(offered, OFFER, later), said_at=NOW) == offered
    went = applied(READY, GO, later)
    assert (went.grant, went.go_at, went.go_nonce) == (G.GO, later, "n1")
    lapsed = applied(went, LAPSE, later)
    assert (lapsed.grant, lapsed.go_at, lapsed.go_nonce) == (G.OFFERED, None, None)
    withdrawn = applied(lapsed, UNREACHED, later)
    again = applied(withdrawn, move(V.WITHDRAW, withdrawn_for=WithdrawReason.ABORTED), later)
    assert (again.grant, again.withdrawn_for) == (G.WITHDRAWN, WithdrawReason.NOT_REACHED)
    tried = applied(replace(went, state=J.FAILED), move(V.RETRY, not_before=later, burns=True), later)
    assert tried == job(try_no=2, attempts=2, not_before=later)


def test_a_back_off_doubles_to_a_day() -> None:
    assert [back_off_s(PLAN, tries) for tries in (1, 2, 3)] == [600, 1200, 2400]
    assert back_off_s(PLAN, 1_000) == BACK_OFF_S_MAX


def test_a_person_tries_again_what_failed_in_the_open_wave() -> None:
    back = replace(SWITCHING, state=J.ROLLED_BACK, ended_at=NOW)
    again = retried_by_person(back, rollout(wave=2), PLAN, NOW)
    assert (again.grant, again.wave, again.try_no, again.attempts) == (G.PLANNED, 2, 2, 2)
    refused = [
        (back, rollout(S.HALTED), "halted"),
        (replace(SWITCHING, state=J.SUCCEEDED, ended_at=NOW), rollout(), "succeeded"),
        # a silent one may be switching still
        (replace(SWITCHING, go_at=NOW - timedelta(days=1)), rollout(), "silent"),
        (replace(back, grant=G.WITHDRAWN), rollout(), "rolled_back"),
        (job(), rollout(), "waiting"),
    ]
    for given, of, says in refused:
        with pytest.raises(RolloutRefused, match=says):
            retried_by_person(given, of, PLAN, NOW)


# --- over drawn lives

STORES, TILLS = 8, 3
SELECTION = selection(*fleet(STORES, TILLS))
STORE_OF = {one.terminal_id: one.store_id or "" for one in SELECTION.terminals}
LIFE = settings(
    limits={"exposed_max": 4, "per_store_max": 2},
    gate={"soak_s": 600, "failure_pct": 34, "executed_min": 3, "controls_min": 1, "looks": 2},
    job={"deadline_s": 900, "reach_s": 20_000, "back_off_s": 60},
)
AGENT_STEPS = {
    None: [JobInput.ACCEPT, JobInput.REJECT],
    J.ACCEPTED: [JobInput.DOWNLOAD, JobInput.FAIL],
    J.DOWNLOADING: [JobInput.VERIFY, JobInput.FAIL],
    J.VERIFIED: [JobInput.STAGE],
    J.STAGED: [JobInput.ASK],
    J.READY: [JobInput.LAPSE],
    J.SWITCHING: [JobInput.START, JobInput.REVERT],
    J.CONFIRMING: [JobInput.CONFIRM, JobInput.REVERT],
    J.ROLLING_BACK: [JobInput.REVERTED],
}


class Life(RuleBasedStateMachine):
    """A rollout of 24 tills, whose agents, people and line do whatever they may."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.rollout = rollout(S.RUNNING, wave=0, wave_opened_at=None)
        planned = plan("r1", SELECTION, LIFE)
        self.planned = {wave.number: len(wave.terminals) for wave in planned.waves}
        self.rollout = replace(self.rollout, waves=len(planned.waves))
        self.jobs = {
            one.terminal_id: Job(job_id=one.terminal_id, terminal_id=one.terminal_id, wave=wave.number)
            for wave in planned.waves
            for one in wave.terminals
        }
        self.heard = dict.fromkeys(self.jobs, NOW)
        self.window_open = True
        self.asks = 0
        self.passed: set[int] = set()
        self.went_after_crossing = False

    @initialize()
    def begin(self) -> None:
        self.tick()

    # what the world does

    @rule(rounds=st.integers(1, 30), ill=st.integers(0, 3 * STORES * TILLS))
    def a_night_goes_on(self, rounds: int, ill: int) -> None:
        for _ in range(rounds):
            for number, (terminal_id, job) in enumerate(sorted(self.jobs.items())):
                self.jobs[terminal_id] = self._told(job, well=number != ill)
            self.time_passes(100, set())

    @rule(seconds=st.integers(1, 2_000), mute=st.sets(st.integers(0, STORES * TILLS - 1), max_size=3))
    def time_passes(self, seconds: int, mute: set[int]) -> None:
        self.now += timedelta(seconds=seconds)
        for number, terminal_id in enumerate(sorted(self.jobs)):
            if number not in mute:
                self.heard[terminal_id] = self.now
        self.tick()

    @rule(number=st.integers(0, STORES * TILLS - 1), well=st.booleans())
    def one_agent_goes_on(self, number: int, *, well: bool) -> None:
        terminal_id = sorted(self.jobs)[number]
        self.jobs[terminal_id] = self._told(self.jobs[terminal_id], well=well)

    @rule(rounds=st.integers(1, 3))
    def the_window_is_closed_for_a_while(self, rounds: int) -> None:
        self.window_open = False
        self.a_night_goes_on(rounds, -1)
        self.window_open = True

    @precondition(lambda self: self.rollout.state is S.RUNNING)
    @rule(rounds=st.integers(1, 3))
    def a_person_pauses_it_for_a_while(self, rounds: int) -> None:
        self._event(E.PAUSE)
        self.a_night_goes_on(rounds, -1)
        if self.rollout.state is S.PAUSED:
            self._event(E.RESUME)

    @precondition(lambda self: self.rollout.state is S.RUNNING and self.rollout.wave > 1)
    @rule()
    def a_person_aborts_it(self) -> None:
        self._event(E.ABORT)
        self.tick()

    @precondition(lambda self: self.rollout.state is S.RUNNING)
    @rule()
    def a_person_tries_all_that_failed_again(self) -> None:
        for terminal_id, job in self.jobs.items():
            if outcome(job, LIFE.job, self.now) in BAD and job.over:
                self.jobs[terminal_id] = retried_by_person(job, self.rollout, LIFE, self.now)

    def _event(self, event: RolloutEvent) -> None:
        self.rollout = replace(self.rollout, state=step(self.rollout.state, event))

    def _told(self, job: Job, *, well: bool) -> Job:
        """Let an agent take its next step, and the collector hear of it."""
        if job.grant in {G.PLANNED, G.WITHDRAWN} or job.over:
            return job
        if job.state is J.READY and job.grant is G.GO and job.nonce == job.go_nonce and well:
            taken = JobInput.GO
        else:
            steps = AGENT_STEPS[job.state]
            taken = steps[0] if well else steps[-1]
        state = agent_step(job.state or J.OFFERED, taken)
        if state is J.READY:
            self.asks += 1
        nonce = f"n{self.asks}" if state is J.READY else None
        told = replace(job, state=state, nonce=nonce, reason=None if well else "gremlins")
        return replace(told, ended_at=self.now) if told.over else told

    # what the collector does

    def verdict(self) -> Verdict | None:
        if self.rollout.wave == 0:
            return None
        wave = [job for job in self.jobs.values() if job.wave == self.rollout.wave]
        updated = sum(job.state is J.SUCCEEDED for job in wave)
        stratum = Stratum(model="m", region="r", hours="h", updated=Arm(n=updated, shown=0), control=Arm(n=10, shown=0))
        found = judge(
            Evidence(
                wave=self.rollout.wave,
                tally=tally(wave, LIFE.job, self.now),
                soaked=soaked(wave, LIFE, self.now),
                strata=(stratum,),
                looks_done=self.rollout.looks_done,
            ),
            LIFE.gate,
        )
        self.rollout = replace(self.rollout, looks_done=found.looks_done)
        return found

    def tick(self) -> None:
        judged = self.verdict()
        crossed = self._crossed()
        open_ = OPEN if self.window_open else CLOSED
        terminals = {
            terminal_id: Terminal(
                store_id=STORE_OF[terminal_id],
                heard_at=self.heard[terminal_id],
                interval_s=INTERVAL_S,
                window=open_,
                shows=job.wire_id if job.state else None,
            )
            for terminal_id, job in self.jobs.items()
        }
        found = next_actions(self.rollout, LIFE, list(self.jobs.values()), terminals, verdict=judged, now=self.now)
        for each in found.moves:
            self._check(each, terminals)
            self.went_after_crossing |= crossed and each.event is V.GO
            self.jobs[each.job_id] = applied(self.jobs[each.job_id], each, self.now)
        if judged is not None and judged.kind is VerdictKind.PASS:
            self.passed.add(judged.wave)
        if found.opens_wave:
            assert found.opens_wave == self.rollout.wave + 1
            self.rollout = replace(self.rollout, wave=found.opens_wave, wave_opened_at=self.now, looks_done=0)
        if found.event:
            self._event(found.event)
            self.tick()

    def _check(self, each: Move, terminals: dict[str, Terminal]) -> None:
        job = self.jobs[each.job_id]
        if each.event is V.GO:
            assert self.rollout.state is S.RUNNING
            assert self.window_open
            assert each.nonce == job.nonce
        if each.event is V.WITHDRAW:
            assert job.grant is not G.GO
        if each.event in {V.GO, V.OFFER}:
            assert terminals[job.terminal_id].heard(self.now)

    def _crossed(self) -> bool:
        """Whether failures are at the limit in the open wave, by a count of their own."""
        wave = [job for job in self.jobs.values() if job.wave == self.rollout.wave]
        ends = Counter(outcome(job, LIFE.job, self.now) for job in wave)
        again = sum(
            outcome(job, LIFE.job, self.now) is Outcome.FAILED
            and job.grant is G.OFFERED
            and job.attempts < LIFE.job.attempts_max
            for job in wave
        )
        bad = sum(ends[end] for end in BAD) - again
        executed = bad + ends[Outcome.SUCCEEDED] + ends[Outcome.LATE]
        return executed >= LIFE.gate.executed_min and 100 * bad >= LIFE.gate.failure_pct * executed

    # what always holds

    @invariant()
    def no_more_are_exposed_than_the_plan_allows(self) -> None:
        exposed = [job for job in self.jobs.values() if job.exposed]
        assert len(exposed) <= LIFE.limits.exposed_max
        at_store = Counter(STORE_OF[job.terminal_id] for job in exposed)
        assert max(at_store.values(), default=0) <= min(LIFE.limits.per_store_max, TILLS - 1)

    @invariant()
    def no_wave_grants_more_than_its_share_and_none_before_its_gate(self) -> None:
        retried = Counter(job.wave for job in self.jobs.values() if job.try_no > 1)
        granted = Counter(job.wave for job in self.jobs.values() if job.go_at is not None)
        for wave, count in granted.items():
            assert count <= self.planned[wave] + retried[wave]
            assert wave == 1 or wave - 1 in self.passed

    @invariant()
    def after_failures_are_at_the_limit_nothing_gets_its_go(self) -> None:
        assert not self.went_after_crossing

    @invariant()
    def of_what_was_halted_or_aborted_nothing_can_switch_that_had_no_go(self) -> None:
        if self.rollout.state in {S.HALTED, S.ABORTED}:
            assert all(job.grant in {G.GO, G.WITHDRAWN} or job.over for job in self.jobs.values())


TestLife = Life.TestCase
TestLife.settings = running(max_examples=40, stateful_step_count=25, deadline=None)


def lived(nights: int, *ill: int) -> Life:
    """Return a life in which nothing happens but nights, with some tills whose every try goes wrong."""
    life = Life()
    life.begin()
    for _ in range(nights):
        for _ in range(10):
            for number, (terminal_id, job) in enumerate(sorted(life.jobs.items())):
                life.jobs[terminal_id] = life._told(job, well=number not in ill)
            life.time_passes(100, set())
    return life


def test_a_good_release_reaches_every_till_wave_after_wave() -> None:
    life = lived(20)
    assert (life.rollout.state, life.rollout.wave) == (S.COMPLETED, life.rollout.waves)
    assert life.passed == set(range(1, life.rollout.waves + 1))
    assert {outcome(job, LIFE.job, life.now) for job in life.jobs.values()} == {Outcome.SUCCEEDED}


def test_a_release_that_fails_everywhere_ends_in_its_first_wave() -> None:
    life = lived(20, *range(STORES * TILLS))
    assert (life.rollout.state, life.rollout.wave) == (S.HALTED, 1)
    assert all(job.go_at is None for job in life.jobs.values())
