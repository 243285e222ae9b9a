"""`notify check`, `notify test`, `notify log`, and what a process makes of its routes when it starts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector import receivers
from tests.collector.receivers import Web
from tests.collector.shell_fixtures import NOW, describe, settings

from tillwatch_collector.__main__ import main
from tillwatch_collector.app import serve
from tillwatch_collector.config import NotifyConfig
from tillwatch_collector.notifiers import TargetUnusable
from tillwatch_collector.store.session import Store

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise imports it

ROUTES = """
version = 1

[[route]]
name = "desk"
stores = ["s-1"]
language = "zh-CN"
time_zone = "Asia/Shanghai"
when = {{ hours = {{ mon = [["08:00", "20:00"]] }} }}
target = {{ webhook = "{url}", secret_file = "{secret}" }}

[[route]]
name = "night"
when = {{ hours = {{ sat = [["20:00", "24:00"]] }}, outside = "drop" }}
target = {{ url_env = "NIGHT_URL" }}

[[route]]
name = "west"
regions = ["west"]
target = {{ url_env = "NIGHT_URL" }}
"""


class Told:
    """A command's exit code and what it said."""

    def __init__(self, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        self.code = main(arguments)
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def web() -> Iterator[Web]:
    with receivers.web() as told:
        yield told


@pytest.fixture
def there(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with two stores, routes, and their secrets."""
    (tmp_path / "secret").write_bytes(b"0123456789abcdef")
    path = tmp_path / "routes.toml"
    path.write_text(ROUTES.format(url=web.url(), secret=tmp_path / "secret"), encoding="utf-8")
    monkeypatch.setenv("TILLWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TILLWATCH_NOTIFY__ROUTES_FILE", str(path))
    monkeypatch.setenv("NIGHT_URL", f"json://127.0.0.1:{web.port}/night")
    store = Store.open(f"sqlite:///{tmp_path / 'collector.db'}")
    store.migrate()
    describe(store)
    store.close()
    return path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        # a Saturday, 20:00 in Shanghai and 12:00 in UTC
        (("--store", "s-1"), {"desk": "at 2026-11-23 08:00:00 (Asia/Shanghai)", "night": "no: outside its hours"}),
        (("--store", "s-2"), {"desk": "no: not its concern", "west": "at 2026-11-21 12:00:30 (UTC)"}),
        ((), {"desk": "no: not its concern", "west": "no: not its concern"}),
        (("--severity", "info"), {"desk": "no: not its concern", "night": "no: not its concern"}),
        (("--at", "2026-11-21T21:00"), {"night": "at 2026-11-21 21:00:30 (UTC)"}),
    ],
)
def test_check_says_who_would_be_told(
    there: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: dict[str, str]
) -> None:
    assert there.exists()
    at = () if "--at" in arguments else ("--at", f"{NOW:%Y-%m-%dT%H:%M}")
    said = Told(("notify", "check", *arguments, *at), capsys)
    assert said.code == 0, said.err
    lines = {line.split()[0]: line for line in said.out.splitlines()[1:]}
    assert set(lines) == {"desk", "night", "west"}
    for name, verdict in told.items():
        assert lines[name].endswith(verdict)


def test_check_refuses_a_secret_that_is_missing_and_a_store_that_is_not_known(
    there: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "expected a store" in Told(("notify", "check", "--store", "s-9"), capsys).err
    monkeypatch.setenv("NIGHT_URL", "nonsense-SECRET")
    said = Told(("notify", "check"), capsys)
    assert (said.code, "NIGHT_URL: expected one apprise URL" in said.err, "SECRET" in said.err) == (2, True, False)
    (there.parent / "secret").unlink()
    assert Told(("notify", "check"), capsys).code == 2


def test_check_warns_of_a_contract_that_escalates_to_nobody(
    there: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = '{ clock = "resolve", share = 1.0, to = "lead" }, { clock = "resolve", share = 2.0, to = "desk" }'
    contract = f'[contract.gold]\ncalendar = "always"\nescalation = [{steps}]\n'
    (there.parent / "sla.toml").write_text(f'version = 1\ndefault = "gold"\n{contract}', encoding="utf-8")
    monkeypatch.setenv("TILLWATCH_SLA__FILE", str(there.parent / "sla.toml"))
    said = Told(("notify", "check"), capsys)
    assert (said.code, said.err) == (
        0,
        "warning: contract gold escalates to lead, and there is no such route\n",
    )


def test_a_test_message_is_sent_now_in_the_routes_language(
    there: Path, web: Web, capsys: pytest.CaptureFixture[str]
) -> None:
    assert there.exists()
    assert Told(("notify", "test", "desk"), capsys).out == "route desk: delivered\n"
    assert json.loads(web.got[0].body)["title"].startswith("tillwatch")
    assert "desk" in json.loads(web.got[0].body)["body"]
    web.status = 500
    said = Told(("notify", "test", "night"), capsys)
    assert (said.code, said.err.startswith("error: route night: expected the message to be taken")) == (1, True)
    assert "expected one of the routes (desk, night, west)" in Told(("notify", "test", "day"), capsys).err


def test_the_log_is_empty_at_first(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert there.exists()
    assert "(none)" in Told(("notify", "log"), capsys).err
    assert Told(("notify", "log", "--json", "--state", "sent", "--ticket", "1"), capsys).out.strip() == "[]"


def test_a_collector_does_not_start_with_a_route_that_lacks_its_secret(there: Path, tmp_path: Path) -> None:
    (there.parent / "secret").unlink()
    more: dict[str, Any] = {"notify": NotifyConfig(routes_file=there)}
    with pytest.raises(TargetUnusable, match=r"route desk: .*secret: expected a readable file"):
        serve(settings(tmp_path / "data", **more), lambda _: None)
