"""The audit log: whatever is done to its lines shows. On both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, update
from tests.collector.shell_fixtures import NOW

from tillwatch_collector.store import audit
from tillwatch_collector.store.audit import (
    AUDIT,
    BEFORE_ALL,
    CUT,
    Anchor,
    Audit,
    AuditFilter,
    Unfit,
    Verified,
)
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

LINES = 5
DAY = timedelta(days=1)


def record(store: Store, number: int, **changes: object) -> None:
    told = {"actor": "person:ann", "action": "sign_in", "subject": f"person:{number}", "detail": {"no": number}}
    with store.transaction() as repository:
        repository.audit.record(NOW + timedelta(seconds=number), **(told | changes))  # type: ignore[arg-type]


@pytest.fixture
def written(store: Store) -> Store:
    """A log of a few lines."""
    for number in range(1, LINES + 1):
        record(store, number)
    return store


def verified(store: Store, noted: Anchor | None = None) -> Verified:
    with store.reading() as connection:
        return Audit(connection).verify(noted)


def last(store: Store) -> Anchor:
    found = verified(store).last
    assert found is not None
    return found


def test_an_empty_log_fits(store: Store) -> None:
    assert verified(store) == Verified(lines=0, last=None)


def test_lines_are_numbered_without_a_hole_and_hold_each_other(written: Store) -> None:
    with written.reading() as connection:
        rows = connection.execute(select(AUDIT).order_by(AUDIT.c.audit_no)).all()
    assert [row.audit_no for row in rows] == list(range(1, LINES + 1))
    assert [row.previous for row in rows] == [BEFORE_ALL, *(row.digest for row in rows[:-1])]
    found = verified(written)
    assert (found.lines, found.misfit) == (LINES, None)
    assert found.last == Anchor(audit_no=LINES, digest=rows[-1].digest)


def test_the_same_log_has_the_same_digests_on_both_databases(written: Store) -> None:
    assert last(written).digest == "bdc1db5578a68756626bd4981552d546b8736a212896980285ade3c9ea3ef094"


# --- what somebody with a hand in the database may try


def altered(**values: object) -> Callable[[Repository], object]:
    return lambda repository: repository.connection.execute(update(AUDIT).where(AUDIT.c.audit_no == 3).values(**values))


def altered_with_its_digest(repository: Repository) -> None:
    row = dict(repository.connection.execute(select(AUDIT).where(AUDIT.c.audit_no == 3)).mappings().one())
    row |= {"actor": "person:eve"}
    values = {"actor": "person:eve", "digest": audit._digest(row)}
    repository.connection.execute(update(AUDIT).where(AUDIT.c.audit_no == 3).values(**values))


def removed(*numbers: int) -> Callable[[Repository], object]:
    return lambda repository: repository.connection.execute(delete(AUDIT).where(AUDIT.c.audit_no.in_(numbers)))


def removed_and_closed_up(repository: Repository) -> None:
    removed(3)(repository)
    for number in (4, 5):
        moved = update(AUDIT).where(AUDIT.c.audit_no == number).values(audit_no=number - 1)
        repository.connection.execute(moved)


def swapped(repository: Repository) -> None:
    for number, other in ((3, 30), (4, 3), (30, 4)):
        repository.connection.execute(update(AUDIT).where(AUDIT.c.audit_no == number).values(audit_no=other))


def put_on_top(repository: Repository) -> None:
    row = dict(repository.connection.execute(select(AUDIT).where(AUDIT.c.audit_no == 3)).mappings().one())
    repository.connection.execute(insert(AUDIT).values(**(row | {"audit_no": LINES + 1})))


@pytest.mark.parametrize(
    ("tamper", "number", "why"),
    [
        (altered(actor="person:eve"), 3, Unfit.ALTERED),
        (altered(action="sign_out"), 3, Unfit.ALTERED),
        (altered(subject="person:4"), 3, Unfit.ALTERED),
        (altered(detail='{"no": 4}'), 3, Unfit.ALTERED),
        (altered(detail='{"no":3}'), 3, Unfit.ALTERED),  # the same, written otherwise
        (altered(detail="no JSON"), 3, Unfit.ALTERED),
        (altered(at=NOW), 3, Unfit.ALTERED),
        (altered(digest="0" * 64), 3, Unfit.ALTERED),
        (altered(previous="0" * 64), 3, Unfit.PREVIOUS),
        (altered_with_its_digest, 4, Unfit.PREVIOUS),  # the next line holds what it was
        (removed(3), 4, Unfit.MISSING),
        (removed(2, 3, 4), 5, Unfit.MISSING),
        (removed(1), 2, Unfit.BEGINNING),
        (removed(1, 2, 3), 4, Unfit.BEGINNING),
        (removed_and_closed_up, 3, Unfit.PREVIOUS),
        (swapped, 3, Unfit.PREVIOUS),
        (put_on_top, LINES + 1, Unfit.PREVIOUS),
    ],
    ids=[
        "who",
        "what",
        "to what",
        "detail",
        "detail in other letters",
        "detail that is none",
        "when",
        "digest",
        "previous digest",
        "content and digest",
        "one gone",
        "some gone",
        "the first gone",
        "the beginning gone",
        "one gone and the others moved up",
        "two swapped",
        "one put on top",
    ],
)
def test_the_first_line_that_does_not_fit_is_named(
    written: Store, tamper: Callable[[Repository], object], number: int, why: Unfit
) -> None:
    with written.transaction() as repository:
        tamper(repository)
    found = verified(written)
    assert found.misfit is not None
    assert (found.misfit.audit_no, found.misfit.why, found.last) == (number, why, None)


def test_an_end_that_was_cut_off_shows_to_whoever_noted_it(written: Store) -> None:
    noted = last(written)
    with written.transaction() as repository:
        removed(4, 5)(repository)
    assert verified(written).misfit is None  # what is left fits in itself
    found = verified(written, noted).misfit
    assert found is not None
    assert (found.audit_no, found.why) == (4, Unfit.CUT_OFF)


def test_a_log_that_lost_everything_shows_to_whoever_noted_it(written: Store) -> None:
    noted = last(written)
    with written.transaction() as repository:
        removed(*range(1, LINES + 1))(repository)
    found = verified(written, noted).misfit
    assert found is not None
    assert (found.audit_no, found.why) == (1, Unfit.CUT_OFF)


def test_a_log_that_was_made_anew_shows_to_whoever_noted_it(written: Store) -> None:
    noted = last(written)
    with written.transaction() as repository:
        removed(*range(1, LINES + 1))(repository)
    for number in range(1, LINES + 3):
        record(written, number, actor="person:eve")
    assert verified(written).misfit is None
    found = verified(written, noted).misfit
    assert found is not None
    assert (found.audit_no, found.why) == (LINES, Unfit.ANCHOR)


def test_a_log_that_grew_fits_to_what_was_noted(written: Store) -> None:
    noted = last(written)
    record(written, 6)
    assert verified(written, noted).misfit is None


# --- writing


def test_lines_written_side_by_side_stand_one_behind_the_other(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: record(store, number), range(24)))
    found = verified(store)
    assert (found.lines, found.misfit) == (24, None)


def test_what_is_rolled_back_leaves_no_line_and_no_hole(written: Store) -> None:
    def fail() -> None:
        with written.transaction() as repository:
            repository.audit.record(NOW, actor="person:ann", action="sign_in", subject="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    record(written, 6)
    assert verified(written).lines == 6


@pytest.mark.parametrize(
    "hostile",
    [
        "\x00 and \x1b[2J",  # no database takes the one, terminals obey the other
        "纸尽 \u202e gnp.exe",
        "\ud800",
        "x" * 10_000,
        "<script>alert(1)</script>",
    ],
    ids=["control", "turned around", "half a pair", "long", "markup"],
)
def test_whatever_is_told_is_kept_plain_and_short(store: Store, hostile: str) -> None:
    record(store, 1, actor=hostile, subject=hostile, detail={"user_agent": hostile, hostile[:20]: [hostile]})
    assert verified(store).misfit is None
    with store.reading() as connection:
        row = connection.execute(select(AUDIT)).one()
        (line,) = Audit(connection).lines(AuditFilter(), 5)
    str(line).encode()  # a page can show it
    assert row.detail.isascii()
    assert len(row.detail) <= 4_000
    assert len(row.actor) <= 100
    assert len(row.subject) <= 200
    assert row.actor.isprintable()
    assert isinstance(line.detail, dict)


# --- reading


def test_lines_are_found_by_who_what_and_text_the_newest_first(store: Store) -> None:
    record(store, 1)
    record(store, 2, actor="person:bob")
    record(store, 3, action="sign_out")
    record(store, 4, detail={"name": "50% off"})

    def found(**wanted: object) -> list[int]:
        with store.reading() as connection:
            return [line.audit_no for line in Audit(connection).lines(AuditFilter(**wanted), 10)]  # type: ignore[arg-type]

    assert found() == [4, 3, 2, 1]
    assert found(actor="person:bob") == [2]
    assert found(action="sign_out") == [3]
    assert found(q="0% o") == [4]  # a per cent sign is itself
    assert found(q="PERSON:3") == [3]
    assert found(before_no=3) == [2, 1]
    with store.reading() as connection:
        assert Audit(connection).actions() == ("sign_in", "sign_out")


# --- what upkeep cuts off


def cut(store: Store, before: timedelta, *, rows_max: int = 100) -> int:
    with store.transaction() as repository:
        return repository.audit.cut_before(NOW + before, NOW + 500 * DAY, rows_max=rows_max)


@pytest.fixture
def old(store: Store) -> Store:
    """A log of ten days, one line each."""
    for number in range(10):
        with store.transaction() as repository:
            repository.audit.record(NOW + number * DAY, actor="person:ann", action="sign_in", subject=f"{number}")
    return store


def test_a_beginning_that_upkeep_cut_off_is_no_misfit(old: Store) -> None:
    assert cut(old, 4.5 * DAY) == 5
    found = verified(old)
    assert (found.lines, found.misfit) == (6, None)
    with old.reading() as connection:
        (line,) = Audit(connection).lines(AuditFilter(action=CUT), 5)
    assert (line.actor, line.detail["through"]) == ("machine:upkeep", 5)


def test_it_is_cut_in_slices_and_the_last_word_counts(old: Store) -> None:
    assert [cut(old, 8.5 * DAY, rows_max=3) for _ in range(4)] == [3, 3, 3, 0]
    assert verified(old).misfit is None


def test_less_than_a_day_is_not_worth_a_line(old: Store) -> None:
    assert cut(old, 0.5 * DAY) == 0
    assert cut(old, DAY) == 0
    assert verified(old).lines == 10


def test_a_log_that_is_over_as_a_whole_stays(old: Store) -> None:
    """Nobody has done anything for a year: the next line is what lets the others go."""
    assert cut(old, 100 * DAY) == 0


def test_whoever_cuts_more_than_upkeep_said_is_found_out(old: Store) -> None:
    cut(old, 4.5 * DAY)
    with old.transaction() as repository:
        removed(6)(repository)
    found = verified(old).misfit
    assert found is not None
    assert (found.audit_no, found.why) == (7, Unfit.BEGINNING)


def test_an_empty_log_is_not_cut(store: Store) -> None:
    assert cut(store, 100 * DAY) == 0
