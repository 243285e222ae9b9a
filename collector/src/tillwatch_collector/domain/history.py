"""Which of the numbers in a heartbeat become samples: what changed, and every five minutes the whole.

A measure of a component of a terminal is a series. A heartbeat that becomes the level is held against what was kept of
its terminal; kept is every value that left its unit's deadband (`domain.measures`), and once in `FRAME_S` the whole
frame: all values of the heartbeat. So a value that is not there was within the deadband of the one before, if that is
not older than `HELD_S`; beyond it nothing is known. A sample's time is the collector's, in whole seconds; a terminal
keeps at most one sample of a series a second, and what it keeps waiting is compared again at its next heartbeat.

Samples are no facts in the sense of `store.tables`: which heartbeats come in time, and to which of several ingesting
processes, decides what is kept, so they stand outside the canonical form in which any order ends alike. Nothing judges
by them.

What was taken is sure once its transaction is committed; a recorder whose transaction was rolled back forgets it, and a
heartbeat that is taken twice in between is kept once. A change violates this when a value is believed kept that no
commit holds, or when what a terminal sends can make the recorder or the table of series grow without limit.
"""

from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from tillwatch_collector.domain.measures import Unit, unit_of

FRAME_S = 300
"""How old the newest sample of a terminal that speaks may become: DESIGN.md, "Store"."""

FRAME_EARLY_S = 5
"""A heartbeat that comes this much before its time must not put the frame off by a whole interval."""

HELD_S = 600
"""How long a value is taken to hold when none follows it: two frames, so that one lost heartbeat is no gap."""

SERIES_MAX = 256
"""Of one terminal, over all time: a full counter has some ten parts with a dozen measures each. A terminal that names
new measures in every heartbeat fills this and no more."""

TERMINALS_MAX = 1_000_000
"""Some 0.7 KB each at ten measures. Beyond it the one kept longest ago is forgotten, and begins with a frame."""

LAYOUTS_MAX = 4_096
"""Sets of names that terminals share: a few for each release and equipment. Beyond it they are shared anew."""

NOTED_MAX = 100
"""Hours and days that are known to be prepared: today's, and those of a clock that was set."""

UNRESOLVED, REFUSED = 0, -1
"""In the place of a series' number: not asked for yet, and beyond the terminal's limit."""

SeriesName = tuple[str, str]
"""(`component`, `measure`)."""


class Layout:
    """The series of a heartbeat, in its order; terminals with equal names share one."""

    __slots__ = ("names", "series", "units")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        """Components, each before its measures."""
        self.series = tuple(islice(_series(names), SERIES_MAX))
        self.units: tuple[Unit, ...] = tuple(unit_of(measure) for _, measure in self.series)


class Book:
    """What was last kept of a terminal: by place in the layout, the bounds within which a value says nothing new."""

    __slots__ = ("frame_s", "highs", "kept_s", "layout", "lows", "numbers", "terminal_id")

    def __init__(self, terminal_id: str, layout: Layout) -> None:
        self.terminal_id = terminal_id
        self.layout = layout
        self.lows = array("d", bytes(8 * len(layout.series)))
        self.highs = array("d", self.lows)
        self.numbers = array("q", self.lows.tobytes())
        """Of the series; `UNRESOLVED` and `REFUSED` beside."""
        self.frame_s = self.kept_s = 0

    def copy(self) -> "Book":
        """Return one that may be written in while this one stays."""
        book = Book.__new__(Book)
        book.terminal_id, book.layout = self.terminal_id, self.layout
        book.lows, book.highs, book.numbers = self.lows[:], self.highs[:], self.numbers[:]
        book.frame_s, book.kept_s = self.frame_s, self.kept_s
        return book


class Kept(NamedTuple):
    """What one heartbeat left: values by place in the book's layout; `at_s` counts from 1970."""

    book: Book
    at_s: int
    places: Sequence[int]
    values: Sequence[float]


class Recorder:
    """What one ingesting process remembers of all series; not thread-safe."""

    def __init__(self, terminals_max: int = TERMINALS_MAX) -> None:
        self.kept: list[Kept] = []
        """Taken since the last commit, and to be written with it."""
        self.prepared: set[str] = set()
        """Tables and hours that stand ready, by a name of the store's; what is not sure yet is in `preparing`."""
        self.preparing: set[str] = set()
        self._books: dict[str, Book] = {}
        self._taken: dict[str, Book] = {}
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._terminals_max = terminals_max

    @property
    def taken(self) -> int:
        """How many samples were taken since the last commit, those beyond a terminal's limit among them."""
        return sum(len(kept.places) for kept in self.kept)

    def take(self, terminal_id: str, names: tuple[str, ...], values: Sequence[float], at: datetime) -> None:
        """Take a heartbeat that became its terminal's level at `at`, and keep of it what is to be kept.

        `names` are the components that measure something, each before its measures; `values` are of the measures.
        """
        if not values:
            return
        at_s = int(at.timestamp())
        book = self._taken.get(terminal_id) or self._books.get(terminal_id)
        if book is None or book.layout.names != names:
            self._take_frame(self._laid_out(terminal_id, names, book), values, at_s)
        elif at_s == book.kept_s:
            return
        elif not 0 <= at_s - book.frame_s < FRAME_S - FRAME_EARLY_S:
            self._take_frame(self._own(book), values, at_s)
        else:
            bounds = zip(values, book.lows, book.highs)  # noqa: B905 - values beyond the terminal's limit have none
            changed = [place for place, (value, low, high) in enumerate(bounds) if not low <= value <= high]
            if changed:
                self._keep(self._own(book), changed, values, at_s)

    def committed(self) -> None:
        """Trust what was taken: its transaction is committed."""
        for terminal_id, book in self._taken.items():
            self._books.pop(terminal_id, None)
            self._books[terminal_id] = book
        for terminal_id in tuple(islice(self._books, max(0, len(self._books) - self._terminals_max))):
            del self._books[terminal_id]
        if len(self.prepared) > NOTED_MAX:
            self.prepared.clear()
        self.prepared |= self.preparing
        self._begin_anew()

    def rolled_back(self) -> None:
        """Forget what was taken since the last commit, and what stood ready: perhaps that was what failed."""
        self.prepared.clear()
        self._begin_anew()

    def unresolved(self) -> Iterator[tuple[Book, int]]:
        """Name the places of what was kept whose series has no number yet."""
        for book in {id(kept.book): kept.book for kept in self.kept}.values():
            if UNRESOLVED in book.numbers:
                yield from ((book, place) for place, number in enumerate(book.numbers) if number == UNRESOLVED)

    def _begin_anew(self) -> None:
        self.kept = []
        self.preparing = set()
        self._taken = {}

    def _own(self, book: Book) -> Book:
        """Return the terminal's book of this transaction; the one of the last commit stays as it is."""
        taken = self._taken.get(book.terminal_id)
        if taken is None:
            taken = self._taken[book.terminal_id] = book.copy()
        return taken

    def _laid_out(self, terminal_id: str, names: tuple[str, ...], before: Book | None) -> Book:
        """Begin a terminal's book, or go on in another order of names with the numbers that are known."""
        layout = self._layout(names)
        book = self._taken[terminal_id] = Book(terminal_id, layout)
        if before is not None:
            known = dict(zip(before.layout.series, before.numbers, strict=True))
            book.numbers = array("q", (known.get(series, UNRESOLVED) for series in layout.series))
        return book

    def _layout(self, names: tuple[str, ...]) -> Layout:
        layout = self._layouts.get(names)
        if layout is None:
            if len(self._layouts) >= LAYOUTS_MAX:
                self._layouts.clear()
            layout = self._layouts[names] = Layout(names)
        return layout

    def _take_frame(self, book: Book, values: Sequence[float], at_s: int) -> None:
        book.frame_s = at_s
        self._keep(book, range(len(book.layout.series)), values, at_s)

    def _keep(self, book: Book, places: Sequence[int], values: Sequence[float], at_s: int) -> None:
        units, lows, highs = book.layout.units, book.lows, book.highs
        for place in places:
            lows[place], highs[place] = units[place].unchanged(values[place])
        book.kept_s = at_s
        self.kept.append(Kept(book, at_s, places, values))


def _series(names: Sequence[str]) -> Iterator[SeriesName]:
    component = ""
    for name in names:
        if ":" in name:
            component = name
        else:
            yield component, name
