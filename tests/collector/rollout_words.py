"""Words in which the tests of rollouts speak: settings that are whole, terminals of stores, and jobs."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tillwatch_collector.domain.granting import Terminal
from tillwatch_collector.domain.rollout import RolloutSettings
from tillwatch_collector.domain.waves import Selected, Selection
from tillwatch_collector.domain.window import Opening, WindowReason

NOW = datetime(2026, 11, 20, 2, tzinfo=UTC)
OPEN = Opening(reason=WindowReason.OPEN, until=NOW + timedelta(hours=3))
INTERVAL_S = 60.0

SETTINGS: dict[str, Any] = {
    "waves": [{"count": 4}, {"share_pct": 50}],
    "limits": {"exposed_max": 3, "per_store_max": 2},
    "window": {
        "mode": "closed",
        "after_s": 3600,
        "before_s": 1800,
        "settlement_at": ["03:00"],
        "settlement_margin_s": 900,
        "blackouts": [{"first": "2026-12-20", "last": "2026-12-31"}],
    },
    "gate": {
        "soak_s": 3600,
        "failure_pct": 20,
        "executed_min": 3,
        "infrastructure_pct": 50,
        "primary": "attributable_fault",
        "alpha": 0.01,
        "looks": 2,
        "controls_min": 50,
        "covered_pct": 90,
    },
    "job": {"deadline_s": 900, "reach_s": 86_400, "attempts_max": 3, "back_off_s": 600, "offers_per_minute_max": 100},
    "approval": True,
}
"""A plan as its author states it."""


def settings(**parts: dict[str, Any]) -> RolloutSettings:
    """Return the settings with some keys of some parts changed."""
    changed = {key: {**SETTINGS[key], **part} for key, part in parts.items()}
    return RolloutSettings.model_validate({**SETTINGS, **changed})


def selected(terminal_id: str, store_id: str | None = "s1", *, tills: int = 4, **facts: Any) -> Selected:
    return Selected(
        **{
            "terminal_id": terminal_id,
            "store_id": store_id,
            "store_tills": tills,
            "model": "m1",
            "region": "north",
            "live": True,
            "opens_at": NOW,
            **facts,
        }
    )


def selection(*terminals: Selected) -> Selection:
    return Selection(query="model = m1", reason="ticket 12", taken_at=NOW, terminals=terminals)


def fleet(stores: int, tills: int) -> tuple[Selected, ...]:
    """Return so many stores with so many tills each, all selected."""
    return tuple(
        selected(f"s{store:03}-t{till}", f"s{store:03}", tills=tills)
        for store in range(stores)
        for till in range(tills)
    )


def till(store_id: str = "s1", *, heard_s_ago: float | None = 0.0, **facts: Any) -> Terminal:
    heard_at = None if heard_s_ago is None else NOW - timedelta(seconds=heard_s_ago)
    return Terminal(**{"store_id": store_id, "heard_at": heard_at, "interval_s": INTERVAL_S, "window": OPEN, **facts})
