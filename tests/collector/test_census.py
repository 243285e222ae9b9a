"""How terminals stand, counted: by store, region and merchant, and as pictures."""

import pytest

from tillwatch_collector.console.pictures import bar, tiles
from tillwatch_collector.domain.census import (
    TROUBLED,
    WORST_FIRST,
    Census,
    CountRow,
    State,
    StoreName,
    Tally,
    count,
)


def named(store_id: str, *, merchant: str = "m-1", region: str | None = "north") -> StoreName:
    return StoreName(store_id, f"Shop {store_id}", merchant, merchant.upper(), region)


def counted(*rows: CountRow, stores: tuple[StoreName, ...] = (), presences: dict[str, int] | None = None) -> Census:
    return count(rows, stores or tuple(named(f"s-{no}") for no in range(1, 4)), presences or {})


# --- counting


@pytest.mark.parametrize(("better", "worse"), list(zip(WORST_FIRST[1:], WORST_FIRST[:-1], strict=True)))
def test_a_store_stands_as_the_worst_of_its_terminals(better: State, worse: State) -> None:
    census = counted(CountRow("s-1", better, 9), CountRow("s-1", worse, 1))
    assert census.stores[0].tally.worst is worse


def test_a_store_is_off_only_where_all_its_terminals_are() -> None:
    assert Tally(states={State.OFF: 3, State.WELL: 1}).worst is State.WELL
    assert Tally(states={State.OFF: 3}).worst is State.OFF
    assert Tally().worst is State.OFF


def test_what_is_off_or_well_is_no_trouble_and_what_is_unknown_is() -> None:
    assert frozenset(State) - TROUBLED == {State.OFF, State.WELL}
    assert Tally(states={State.OFF: 3, State.WELL: 5, State.UNKNOWN: 2, State.LATE: 1}).troubled == 3


def test_who_is_silent_off_or_unknown_does_not_report() -> None:
    assert Tally(states=dict.fromkeys(State, 1)).reporting == len(State) - 3


def test_rows_of_one_store_add_up_and_every_store_is_there() -> None:
    census = counted(CountRow("s-2", State.WELL, 4), CountRow("s-2", State.WELL, 1), CountRow("s-2", State.SILENT, 2))
    assert [one.store.store_id for one in census.stores] == ["s-2", "s-1", "s-3"]
    assert census.stores[0].tally.states == {State.WELL: 5, State.SILENT: 2}
    assert census.whole.terminals == 7


def test_of_stores_with_the_same_trouble_the_one_with_more_of_it_comes_first() -> None:
    census = counted(CountRow("s-1", State.SILENT, 1), CountRow("s-3", State.SILENT, 2))
    assert [one.store.store_id for one in census.stores] == ["s-3", "s-1", "s-2"]


def test_a_terminal_without_a_store_counts_in_the_whole() -> None:
    census = counted(CountRow(None, State.UNKNOWN, 2), CountRow("s-1", State.WELL, 1))
    assert (census.unplaced.terminals, census.whole.terminals) == (2, 3)


def test_whom_judge_has_not_looked_at_is_unknown() -> None:
    census = counted(CountRow("s-1", State.WELL, 3), presences={"online": 2, "unknown": 0})
    assert census.presences == {"online": 2, "unknown": 1}


# --- groups


STORES = (
    named("s-1", region="north"),
    named("s-2", region="south", merchant="m-2"),
    named("s-3", region=None, merchant="m-2"),
)


def test_the_most_troubled_region_comes_first_and_stores_without_one_are_together() -> None:
    census = counted(CountRow("s-1", State.MINOR, 2), CountRow("s-2", State.CRITICAL, 1), stores=STORES)
    assert [(group.key, len(group.stores)) for group in census.by_region()] == [("south", 1), ("north", 1), (None, 1)]


def test_merchants_are_named() -> None:
    census = counted(CountRow("s-3", State.SILENT, 1), stores=STORES)
    assert [(group.key, group.name) for group in census.by_merchant()] == [("m-2", "M-2"), ("m-1", "M-1")]
    assert census.by_merchant()[0].stores_by_state == {State.SILENT: 1, State.OFF: 1}


def test_a_part_has_what_stands_there_alone() -> None:
    census = counted(CountRow("s-1", State.WELL, 2), CountRow("s-2", State.WELL, 3), stores=STORES)
    assert census.of(region="south").whole.terminals == 3
    assert census.of(merchant_id="m-2").whole.terminals == 3
    assert census.of(region="north", merchant_id="m-2").stores == ()
    assert census.of() is census


# --- pictures


def test_a_bar_divides_its_width_in_the_given_order_and_shows_the_smallest_share() -> None:
    parts = bar.segments({"a": 1, "b": 99_999, "c": 0}, ("b", "c", "a"))
    assert [(part.kind, part.count) for part in parts] == [("b", 99_999), ("a", 1)]
    assert parts[-1].width > 5
    assert round(parts[-1].x + parts[-1].width) == bar.WIDTH


def test_a_bar_of_nobody_is_empty() -> None:
    assert bar.segments({}, ("a",)) == ()


def fleet_of(*stores: int) -> Census:
    """So many stores in each region."""
    names = [
        named(f"r{region}-{no:04d}", region=f"region-{region}")
        for region, many in enumerate(stores)
        for no in range(many)
    ]
    return counted(*(CountRow(one.store_id, State.WELL, 1) for one in names), stores=tuple(names))


def test_a_small_fleet_is_shown_whole() -> None:
    shown = tiles.picture(fleet_of(3, 25).by_region())
    assert [(len(block.tiles), block.left_out) for block in shown.blocks] == [(3, 0), (25, 0)]
    assert {(tile.x, tile.y) for tile in shown.blocks[0].tiles} == {(0, 0), (18, 0), (36, 0)}
    assert shown.blocks[1].tiles[-1].y > 0


def test_a_large_fleet_shows_so_many_tiles_and_counts_the_others() -> None:
    shown = tiles.picture(fleet_of(5, 3_000, 2_000).by_region())
    assert sum(len(block.tiles) for block in shown.blocks) <= tiles.TILES_MAX
    assert [len(block.tiles) for block in shown.blocks] == [5, 198, 197]
    assert sum(block.left_out for block in shown.blocks) == 5_005 - tiles.TILES_MAX


def test_what_is_left_out_is_no_worse_than_what_is_shown() -> None:
    names = tuple(named(f"s-{no:03d}") for no in range(50))
    rows = [CountRow(one.store_id, State.SILENT if no % 10 == 7 else State.WELL, 1) for no, one in enumerate(names)]
    (block,) = tiles.picture(counted(*rows, stores=names).by_region(), tiles_max=5).blocks
    assert [tile.state for tile in block.tiles] == [State.SILENT] * 5
    assert (block.left_out, block.stores, block.terminals) == (45, 50, 50)


def test_of_too_many_groups_the_rest_is_counted() -> None:
    shown = tiles.picture(fleet_of(*[1] * (tiles.GROUPS_MAX + 4)).by_region())
    assert (len(shown.blocks), shown.groups_left_out) == (tiles.GROUPS_MAX, 4)


def test_nothing_makes_an_empty_picture() -> None:
    assert tiles.picture(()) == tiles.Picture(blocks=(), groups_left_out=0)
