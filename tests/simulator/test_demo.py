"""The demonstration, a short one, with all its processes."""

import http.client
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psutil
import pytest

ANNOUNCED = "The console: "
PASSWORD = "seven herons over the weir"


def terminals_saved(link: str) -> str:
    """The terminals with their stores, as whoever comes by the console's link may save them."""
    where = urlsplit(link)
    told = {"login": "ann", "name": "Ann", "password": PASSWORD, "again": PASSWORD}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection = http.client.HTTPConnection(where.netloc, timeout=10)
    connection.request("POST", where.path, urlencode(told), form)
    came = connection.getresponse()
    came.read()
    cookie = (came.headers["Set-Cookie"] or "").partition(";")[0]
    connection.request("GET", "/terminals.csv", headers={"Cookie": cookie})
    saved = connection.getresponse().read().decode()
    connection.close()
    return saved


def demo(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("tillwatch-sim")), "demo", "--terminals", "10", *words]


def test_a_short_one_loses_nothing_and_brings_no_false_ticket() -> None:
    ended = subprocess.run(demo("--duration", "40", "--json"), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["false_tickets"] == 0, ended.stderr
    assert report["events_sent"] == report["events_stored"] > 26
    assert report["tickets_resolved"] == report["tickets_opened"] >= 1, ended.stderr
    assert report["outages_opened"] == 0, ended.stderr
    assert report["heartbeats"] >= 13


def test_a_request_to_terminate_ends_everything(tmp_path: Path) -> None:
    with subprocess.Popen(
        demo(), stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    ) as ours:
        assert ours.stdout
        link = next(line for line in ours.stdout if line.startswith(ANNOUNCED)).removeprefix(ANNOUNCED).strip()
        where = urlsplit(link)
        assert where.hostname
        assert where.port
        socket.create_connection((where.hostname, where.port)).close()
        saved = terminals_saved(link)
        assert all(store in saved for store in ("Bund 18", "Canton Road", "Orchard"))
        ours.terminate()
        rest = ours.stdout.read()
        assert ours.wait() == 0
    assert "false tickets" in rest
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((where.hostname, where.port))
    assert list(tmp_path.iterdir()) == []


def test_a_demonstration_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(demo(), stdout=subprocess.PIPE, text=True, env=environment) as ours:
        assert ours.stdout
        next(line for line in ours.stdout if line.startswith(ANNOUNCED))
        parts = psutil.Process(ours.pid).children(recursive=True)
        ours.kill()
    assert len(parts) >= 4
    _, alive = psutil.wait_procs(parts, timeout=30)
    assert alive == []


RETAILER = """
terminals = 20
interval_s = 2
[installed]
product = "till"
version = "2.0"
[[release]]
product = "till"
version = "2.1"
[[release]]
product = "till"
version = "2.2"
harm = { share_pct = 100.0, from_s = 14.0, until_s = 16.0, component = "pin_pad:counter", code = "no_response" }
[[rollout]]
version = "2.1"
select = "merchant=markt till<2.1"
reason = "new functions"
[[rollout]]
version = "2.2"
select = "till<2.2"
reason = "faster"
[plan]
approval = true
waves = [{ count = 4 }, { share_pct = 100 }]
limits = { exposed_max = 20, per_store_max = 9 }
[plan.window]
mode = "closed"
after_s = 0
before_s = 3600
settlement_at = []
settlement_margin_s = 0
blackouts = []
[plan.gate]
soak_s = 30
failure_pct = 50
executed_min = 3
infrastructure_pct = 60
primary = "attributable_fault"
alpha = 0.05
looks = 2
controls_min = 10
covered_pct = 80
[plan.job]
deadline_s = 300
reach_s = 3600
attempts_max = 3
back_off_s = 10
offers_per_minute_max = 1000
[[merchant]]
merchant_id = "markt"
name = "Markt"
[[merchant.store]]
store_id = "one"
name = "One"
terminals = 10
closes_in_s = -3600
[[merchant.store]]
store_id = "other"
name = "Other"
time_zone = "Asia/Shanghai"
terminals = 10
closes_in_s = -7200
"""


@pytest.mark.timeout(900)  # two rollouts of some minutes, beside whatever else this machine does
def test_a_retailer_is_upgraded_inside_windows_and_hidden_harm_is_halted_in_its_first_wave(tmp_path: Path) -> None:
    scenario = tmp_path / "retailer.toml"
    scenario.write_text(RETAILER)
    program = str(Path(sys.executable).with_name("tillwatch-sim"))
    ended = subprocess.run(
        [program, "demo", "--scenario", str(scenario), "--json"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["updated"], report["outside_window"], report["halted_wave"]) == (20, 0, 1), ended.stderr
    assert [one["state"] for one in report["rollouts"]] == ["completed", "halted"]
    assert report["false_tickets"] == 0, ended.stderr
    assert report["events_sent"] == report["events_stored"]
