"""The fleet as tiles: a store is one tile, of the colour and the shape of its worst terminal.

A small fleet is shown whole. Of a large one each group shows its worst stores, and says of the others how many there
are: what is wrong is never left out for what is well, and the page stays light with any number of stores. Groups and
their stores come in order, the worst first.

A change violates this when a picture has more than `TILES_MAX` tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tillwatch_collector.console.pictures import bar
from tillwatch_collector.domain.census import WORST_FIRST, GroupTally, State, StoreTally

TILES_MAX = 400
"""Each is some hundred bytes of the page, a tenth of it on the wire."""
GROUPS_MAX = 60
"""Regions of a country; beyond it the page for them is the list of regions."""
COLUMNS = 20
TILE, GAP = 14, 4
"""In units of the picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A store's place in its group's picture."""

    store_id: str
    name: str
    state: State
    terminals: int
    troubled: int
    x: int
    y: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A group's picture."""

    key: str | None
    name: str
    stores: int
    terminals: int
    tiles: tuple[Tile, ...]
    left_out: int
    """Stores without a tile: none of them is worse than those that have one."""
    width: int
    height: int
    bar: tuple[bar.Segment, ...]
    """Its stores by their state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """All groups that are shown."""

    blocks: tuple[Block, ...]
    groups_left_out: int


def picture(groups: Sequence[GroupTally], tiles_max: int = TILES_MAX, groups_max: int = GROUPS_MAX) -> Picture:
    """Lay out the groups."""
    shown = groups[:groups_max]
    room = _shares([len(group.stores) for group in shown], tiles_max)
    blocks = tuple(_block(group, tiles) for group, tiles in zip(shown, room, strict=True))
    return Picture(blocks=blocks, groups_left_out=len(groups) - len(shown))


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Divide the room: everybody gets the same, and what one does not need goes to the others."""
    given = [0] * len(wanted)
    left = room
    waiting = sorted(range(len(wanted)), key=lambda place: wanted[place])
    for position, place in enumerate(waiting):
        given[place] = min(wanted[place], left // (len(waiting) - position))
        left -= given[place]
    return given


def _block(group: GroupTally, tiles: int) -> Block:
    shown = group.stores[:tiles]
    rows = -(-len(shown) // COLUMNS)
    return Block(
        key=group.key,
        name=group.name,
        stores=len(group.stores),
        terminals=group.tally.terminals,
        tiles=tuple(_tile(one, place) for place, one in enumerate(shown)),
        left_out=len(group.stores) - len(shown),
        width=COLUMNS * (TILE + GAP) - GAP,
        height=max(0, rows * (TILE + GAP) - GAP),
        bar=bar.segments(group.stores_by_state, WORST_FIRST),
    )


def _tile(one: StoreTally, place: int) -> Tile:
    row, column = divmod(place, COLUMNS)
    return Tile(
        store_id=one.store.store_id,
        name=one.store.name,
        state=one.tally.worst,
        terminals=one.tally.terminals,
        troubled=one.tally.troubled,
        x=column * (TILE + GAP),
        y=row * (TILE + GAP),
    )
