"""What is kept of rollouts goes long after their end, in slices, and nothing of one that is open."""

from datetime import timedelta

import pytest
from tests.collector.estate import Estate
from tests.collector.test_upkeep import KEPT, steps
from tests.collector.words import at

from tillwatch_collector.flows.upkeep import Chore
from tillwatch_collector.store import upkeep
from tillwatch_collector.store.session import Store

LONG = timedelta(days=KEPT.tickets_days, seconds=1)
TABLES = ("rollout", "rollout_job", "rollout_journal")


def test_a_rollout_goes_with_its_jobs_and_its_journal(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ROWS_MAX", 7)
    estate = Estate(store, {"north": 4, "south": 4, "west": 4, "east": 4, "mid": 4})
    gone, kept = estate.draft(), estate.run()
    estate.do("abort", gone)
    done = steps(store, at(estate.now_s) + LONG)
    # 2 lines, 20 jobs, itself: a slice each of 7
    assert [each.rows for each in done if each.chore is Chore.ROLLOUTS] == [2, 7, 7, 6, 1]
    for table in TABLES:
        assert estate.rows(f"SELECT DISTINCT rollout_id FROM {table}") == [(kept,)]


def test_a_rollout_that_ended_lately_is_kept(store: Store) -> None:
    estate = Estate(store, {"north": 4, "south": 4, "west": 4, "east": 4, "mid": 4})
    estate.do("abort", estate.draft())
    steps(store, at(estate.now_s) + timedelta(days=KEPT.tickets_days))
    assert estate.rows("SELECT count(*) FROM rollout") == [(1,)]
