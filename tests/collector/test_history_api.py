"""The API of history, as a plot asks it."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.collector.shell_fixtures import NOW, Web, describe
from tests.collector.test_history import machine, measured

from tillwatch_collector.api.history import SERIES_AT_ONCE_MAX
from tillwatch_collector.domain.history import Recorder
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

PATH = "/api/v1/terminals/t-1/history"


@pytest.fixture(scope="module")
def reader(module_store: Store) -> TestClient:
    """A fleet of which t-1 was measured for two hours, every minute."""
    served = Web(database=module_store)
    describe(module_store)
    recorder = Recorder()
    for minute in range(120):
        at = NOW - timedelta(minutes=120 - minute)
        measures = {"cpu_pct": float(minute), "uptime_s": minute * 60}
        recorder.take("t-1", *measured({"machine:self": measures, "network:uplink": {"dns_ms": 5}}), at)
    many = {f"m{number}": 1.0 for number in range(SERIES_AT_ONCE_MAX + 1)}
    recorder.take("t-2", *machine(**many), NOW)
    with module_store.transaction() as repository:
        repository.history.write(recorder, NOW)
    return served.client(Scope.READ)


def asked(reader: TestClient, **parameters: Any) -> Any:
    answer = reader.get(PATH, params={name.rstrip("_"): value for name, value in parameters.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(reader: TestClient, **parameters: Any) -> tuple[int, str]:
    answer = reader.get(PATH, params={name.rstrip("_"): value for name, value in parameters.items()})
    return answer.status_code, answer.json()["detail"]


def test_the_series_of_a_terminal_are_listed_with_their_units(reader: TestClient) -> None:
    assert reader.get("/api/v1/terminals/t-1/series").json() == [
        {"component": "machine:self", "measure": "cpu_pct", "unit": "%"},
        {"component": "machine:self", "measure": "uptime_s", "unit": "s"},
        {"component": "network:uplink", "measure": "dns_ms", "unit": "ms"},
    ]
    assert reader.get("/api/v1/terminals/t-3/series").json() == []


def test_without_a_word_the_last_day_is_shown(reader: TestClient) -> None:
    found = asked(reader)
    assert (found["from"], found["to"]) == ("2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z")
    assert (found["terminal_id"], found["step_s"], found["held_s"]) == ("t-1", 300, 600)
    assert found["samples_since"] is None  # nothing is older
    cpu = found["series"][0]
    assert (cpu["component"], cpu["measure"], cpu["unit"]) == ("machine:self", "cpu_pct", "%")
    assert cpu["points"][0] == {"at": "2026-11-21T10:00:00Z", "min": 0.0, "mean": 1.6, "max": 4.0, "count": 3}
    assert len(cpu["points"]) == 24  # two hours of twenty-four: the rest is not drawn


def test_a_span_a_step_and_some_series_are_shown_as_asked(reader: TestClient) -> None:
    found = asked(
        reader,
        from_="2026-11-21T18:30:00+08:00",
        to="2026-11-21T11:30:00Z",
        step=1800,
        measures=["network:uplink/dns_ms", "machine:self/cpu_pct"],
    )
    assert [series["measure"] for series in found["series"]] == ["cpu_pct", "dns_ms"]
    assert [point["at"] for point in found["series"][0]["points"]] == ["2026-11-21T10:30:00Z", "2026-11-21T11:00:00Z"]
    assert {point["mean"] for point in found["series"][1]["points"]} == {5.0}


@pytest.mark.parametrize(
    "measures",
    [
        ["machine:self/cpu_pct,machine:self/uptime_s"],
        ["machine:self/cpu_pct", "machine:self/uptime_s"],
        ["machine:self/cpu_pct,,machine:self/uptime_s", "machine:self/cpu_pct"],
    ],
)
def test_series_are_named_by_commas_or_again(reader: TestClient, measures: list[str]) -> None:
    assert [series["measure"] for series in asked(reader, measures=measures)["series"]] == ["cpu_pct", "uptime_s"]


def test_what_was_asked_is_widened_to_whole_steps(reader: TestClient) -> None:
    found = asked(reader, from_="2026-11-21T10:31:00Z", to="2026-11-21T11:31:00Z", step=3600)
    assert (found["from"], found["to"]) == ("2026-11-21T10:00:00Z", "2026-11-21T12:00:00Z")
    assert [point["count"] for point in found["series"][2]["points"]] == [12, 12]  # frames


def test_where_nothing_was_kept_there_are_no_points(reader: TestClient) -> None:
    found = asked(reader, from_="2025-01-01T00:00:00Z", to="2025-01-02T00:00:00Z")
    assert [series["points"] for series in found["series"]] == [[], [], []]


def test_where_samples_went_already_the_step_is_an_hour(store: Store) -> None:
    describe(store)
    with store.transaction() as repository:
        repository.connection.exec_driver_sql("INSERT INTO sample_day VALUES (20777)")
        repository.connection.exec_driver_sql("INSERT INTO series VALUES (1, 't-1', 'machine:self', 'cpu_pct', 20776)")
        repository.connection.exec_driver_sql("INSERT INTO rollup_hour VALUES (498647, 1, 3600, 12, 20, 40, 30)")
    found = asked(Web(database=store).client(Scope.READ), from_="2026-11-19T20:00:00Z", to="2026-11-20T04:00:00Z")
    assert (found["samples_since"], found["step_s"]) == ("2026-11-20T00:00:00Z", 3600)
    (point,) = found["series"][0]["points"]
    assert point == {"at": "2026-11-19T23:00:00Z", "min": 20.0, "mean": 30.0, "max": 40.0, "count": 12}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"step": 7}, "step: expected seconds that divide an hour"),
        ({"step": 0}, "step: expected seconds that divide an hour"),
        ({"step": 10}, "step: expected at least 44 seconds"),
        ({"from_": "2026-11-22T00:00:00Z"}, "from: expected a time before"),
        ({"from_": "2026-11-21T00:00:00"}, "the request is not"),  # no zone
        ({"from_": "yesterday"}, "the request is not"),
        ({"step": "fine"}, "the request is not"),
        ({"measure": "machine:self/cpu_pct"}, "the request is not"),  # an unknown parameter
        ({"measures": "a\x00b"}, "the request is not"),
    ],
)
def test_what_cannot_be_plotted_is_refused_in_words(reader: TestClient, parameters: dict[str, Any], said: str) -> None:
    status, detail = refused(reader, **parameters)
    assert status == 422
    assert detail.startswith(said)


def test_a_refusal_names_its_parameter(reader: TestClient) -> None:
    errors = reader.get(PATH, params={"step": 7}).json()["errors"]
    assert [(error["field"], error["got"]) for error in errors] == [("query.step", "7")]


def test_who_and_what_is_unknown_is_not_found(reader: TestClient) -> None:
    assert reader.get("/api/v1/terminals/t-9/history").status_code == 404
    assert reader.get("/api/v1/terminals/t-9/series").status_code == 404
    assert refused(reader, measures="machine:self/nonsense") == (404, "there is no series machine:self/nonsense")


def test_too_many_series_at_once_are_to_be_named(reader: TestClient) -> None:
    answer = reader.get("/api/v1/terminals/t-2/history")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("measures: expected at most 32 series")
