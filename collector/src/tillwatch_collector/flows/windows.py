"""When stores may be changed, found once and remembered while it holds: a window is looked for over days to come.

A store's hours are read at every look; where they, or the plan, have changed, what was remembered does not count. Hours
that make no sense open nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tillwatch_collector.domain import window
from tillwatch_collector.domain.hours import parse_hours
from tillwatch_collector.domain.rollout import RolloutSettings
from tillwatch_collector.domain.window import Opening, WindowReason, WindowSettings
from tillwatch_collector.errors import HoursInvalid
from tillwatch_collector.store.repository import Repository

REMEMBERED_MAX = 50_000
"""Stores of all rollouts: a large estate in several; of more everything is forgotten, and found again."""

StoreHours = tuple[dict[str, Any], str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    opening: Opening
    hours: StoreHours
    settings: WindowSettings
    duration_s: float


class Windows:
    """What is remembered of stores' windows, by rollout."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], _Found] = {}

    def of(
        self,
        repository: Repository,
        rollout_id: str,
        settings: RolloutSettings,
        store_ids: Collection[str],
        now: datetime,
    ) -> dict[str | None, Opening]:
        """Say how each of these stores' windows stands."""
        if len(self._found) > REMEMBERED_MAX:
            self._found.clear()
        stores = repository.looks.hours(sorted(store_ids)) if store_ids else {}
        return {
            store_id: self._opening((rollout_id, store_id), hours, settings, now) for store_id, hours in stores.items()
        }

    def _opening(self, key: tuple[str, str], hours: StoreHours, settings: RolloutSettings, now: datetime) -> Opening:
        duration_s, known = settings.job.deadline_s, self._found.get(key)
        if (
            known is not None
            and (known.hours, known.settings, known.duration_s)
            == (
                hours,
                settings.window,
                duration_s,
            )
            and window.holds(known.opening, now, duration_s)
        ):
            return known.opening
        opening = _look(hours, settings.window, now, duration_s)
        self._found[key] = _Found(opening=opening, hours=hours, settings=settings.window, duration_s=duration_s)
        return opening


def _look(hours: StoreHours, settings: WindowSettings, now: datetime, duration_s: float) -> Opening:
    try:
        parsed = parse_hours(*hours)
    except HoursInvalid:
        return Opening(reason=WindowReason.HOURS_UNKNOWN, until=None)
    return window.look(settings, parsed, now, duration_s)
