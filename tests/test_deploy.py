"""What is copied to a server works there: units, guide, proxy, board and alerts say nothing that is not so.

Commands in them exist with their options, settings load, metrics are in the registry, links lead somewhere. Where the
tools of their makers are installed (`systemd-analyze`, `promtool`), these look at the files, too.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry

from tillwatch_agent import config as agent_config
from tillwatch_agent import pack, slot_commands
from tillwatch_agent.runtime import EXIT_RESTART
from tillwatch_collector import config
from tillwatch_collector.cli import root
from tillwatch_collector.config import WebConfig
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.store.session import usable_url

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "collector" / "deploy"
AGENT_DEPLOY = ROOT / "agent" / "deploy"
AGENT_UNIT = AGENT_DEPLOY / "systemd" / "tillwatch-agent.service"
TILL_UNIT = AGENT_DEPLOY / "systemd" / "till.service"
TILL_DROP_IN = AGENT_DEPLOY / "systemd" / "tillwatch-agent.service.d" / "till.conf"
POLKIT = AGENT_DEPLOY / "polkit" / "60-tillwatch.rules"
SHARE_DROP_IN = AGENT_DEPLOY / "systemd" / "tillwatch-agent.service.d" / "share.conf"
UNITS = (*sorted((DEPLOY / "systemd").glob("tillwatch-*")), AGENT_UNIT)
SERVICES = [path for path in UNITS if path.suffix == ".service"]
DAEMONS = [path for path in SERVICES if "backup" not in path.name]
GUIDES = [DEPLOY / "PRODUCTION.md", ROOT / "README.md"]
RULES, BOARD = DEPLOY / "prometheus" / "tillwatch.rules.yml", DEPLOY / "grafana" / "tillwatch.json"


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- commands


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield each command of ours, in words, without what follows it on its line."""
    for line in text.replace("\\\n", " ").splitlines():
        if found := re.search(
            r"(?:^|=|-- |/bin/|/brought/|/current/|\./)tillwatch-(collector|agent)\s+([a-z][^#|>;]*)", line
        ):
            yield [found[1], *shlex.split(found[2])]


def check_command(words: list[str]) -> None:
    program, *rest = words
    if program == "agent":
        check_agent_command(rest)
        return
    command: Any = typer.main.get_command(root.commands)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert given <= known, f"{words}: {command.name} has no {sorted(given - known)}"


def check_agent_command(words: list[str]) -> None:
    page = words[: 2 if words[0] == "slots" else 1]
    parsed = subprocess.run(
        [str(Path(sys.executable).parent / "tillwatch-agent"), *page, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert parsed.returncode == 0, words
    for word in words[1:]:
        assert not word.startswith("--") or word in parsed.stdout, words


@pytest.mark.parametrize("path", [*GUIDES, *SERVICES], ids=named)
def test_every_command_exists_with_its_options(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = list(commands_in("\n".join(blocks(path, "sh")) if path.suffix == ".md" else text))
    assert found
    for words in found:
        check_command(words)


# --- units


def unit(path: Path) -> dict[str, list[str]]:
    """Read a unit: each key with all of its values, in order."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("path", [path for path in DAEMONS if path != AGENT_UNIT], ids=named)
def test_a_daemon_starts_again_unless_a_person_must_change_something(path: Path) -> None:
    said = unit(path)
    assert said["Restart"] == ["always"]
    assert said["RestartPreventExitStatus"] == ["2"]
    assert said["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("path", [AGENT_UNIT, TILL_UNIT], ids=named)
def test_what_a_launcher_starts_is_started_again_whatever_ended_it(path: Path) -> None:
    """Settings that one release does not understand may be fine for the one before, which must get its start."""
    said = unit(path)
    assert said["Restart"] == ["always"]
    assert "RestartPreventExitStatus" not in said
    assert said["StartLimitIntervalSec"] == ["0"]
    assert str(slot_commands.LAUNCHER) in said["ExecStart"][0]


def test_the_agents_unit_starts_its_launcher_over_the_slots_of_the_guides_settings() -> None:
    said = unit(AGENT_UNIT)
    own, _, started = said["ExecStart"][0].partition(" -- ")
    _, _, launcher_path, option, confirm_within_s, folder = own.split()
    assert (launcher_path, option) == (str(slot_commands.LAUNCHER), "--confirm-within-s")
    assert int(confirm_within_s) > agent_config.AGENT_CONFIRM_S_MAX
    assert started.split()[0] == f"./{pack.PROGRAM}"
    assert said["SuccessExitStatus"] == [str(EXIT_RESTART)]
    assert folder.startswith(f"/var/lib/{said['StateDirectory'][0]}/")
    own_tables = [text for text in tomls() if 'installer = "agent"' in text]
    assert own_tables
    for text in own_tables:
        assert f'folder = "{folder}"' in text


def test_the_guides_till_can_be_switched_by_an_agent_without_rights() -> None:
    (text,) = [text for text in tomls() if 'installer = "bundle"' in text]
    till = next(one for one in tomllib.loads(text)["update"]["products"] if one["installer"] == "bundle")
    assert unit(TILL_DROP_IN)["ReadWritePaths"] == [f"-{till['folder']}"]
    assert f"launcher.py {till['folder']} -- " in unit(TILL_UNIT)["ExecStart"][0]
    *_, verb, restarted = till["restart"]
    assert restarted == TILL_UNIT.name
    rule = POLKIT.read_text(encoding="utf-8")
    assert f'action.lookup("verb") == "{verb}"' in rule
    assert f'var units = ["{restarted}"];' in rule
    assert f'subject.user == "{unit(AGENT_UNIT)["User"][0]}"' in rule
    assert (rule.count("("), rule.count("{")) == (rule.count(")"), rule.count("}"))


def test_a_shared_port_is_the_tills_after_the_unit_ended_whatever_ended_the_agent(tmp_path: Path) -> None:
    said = unit(SHARE_DROP_IN)
    (command,) = said["ExecStopPost"]
    shared = f"/run/{said['RuntimeDirectory'][0]}/"
    assert f"for direct in {shared}*.direct" in command
    assert f'# share = "{shared}receipt"' in (ROOT / "agent" / "agent.example.toml").read_text(encoding="utf-8")
    (tmp_path / "receipt").symlink_to("/dev/pts/999999")
    (tmp_path / "receipt.direct").symlink_to("/dev/ttyS9")
    plain = command.removeprefix("-").replace("$$", "$").replace("%%", "%").replace(shared, f"{tmp_path}/")
    subprocess.run(shlex.split(plain), check=False)
    assert (tmp_path / "receipt").readlink() == Path("/dev/ttyS9")
    assert not (tmp_path / "receipt.direct.direct").is_symlink()


@pytest.mark.parametrize("path", SERVICES, ids=named)
def test_a_service_gains_no_rights_and_writes_its_own_state_only(path: Path) -> None:
    said = unit(path)
    assert said["User"][0].startswith("tillwatch")
    assert said["NoNewPrivileges"] == ["yes"]
    assert said["ProtectSystem"] == ["strict"]
    assert said["CapabilityBoundingSet"] == [""]
    assert said["SystemCallFilter"][0] == "@system-service"
    assert "ReadWritePaths" not in said
    assert said["MemoryMax"]


def test_the_agent_reaches_its_devices_by_groups_and_lists_interfaces() -> None:
    said = unit(AGENT_UNIT)
    assert said["SupplementaryGroups"] == ["dialout lp"]
    assert "AF_NETLINK" in said["RestrictAddressFamilies"][0]
    assert "PrivateDevices" not in said


@pytest.mark.parametrize("role", ["ingest", "tick", "web"])
def test_an_instance_is_a_process_of_its_own_by_the_guides_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    said = unit(DEPLOY / "systemd" / f"tillwatch-{role}@.service")
    name = f"{role}.2"
    for line in said["Environment"]:
        key, _, value = line.replace("%i", name).replace("%S", "/var/lib").partition("=")
        monkeypatch.setenv(key, value)
    (shared,) = [text for text in tomls() if "passfile" in text]
    (tmp_path / "collector.toml").write_text(shared, encoding="utf-8")
    used = config.load(tmp_path / "collector.toml")
    assert used.process == name
    assert used.data_dir == Path("/var/lib") / said["StateDirectory"][0].replace("%i", name)
    assert used.broker is not None
    if role != "web":
        assert used.broker.cert_file == Path(f"/etc/tillwatch/pki/{name}.crt")
    assert config.unknown_variables() == ()


def test_the_collectors_state_is_where_its_settings_say() -> None:
    (state,) = unit(DEPLOY / "systemd" / "tillwatch-collector.service")["StateDirectory"]
    (alone,) = [text for text in tomls() if 'process = "collector.1"' in text]
    assert f'data_dir = "/var/lib/{state}"' in alone


def test_systemd_itself_has_nothing_to_say(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        return  # where there is no systemd, the tests above are all there is
    for path in (*UNITS, TILL_UNIT):
        text = re.sub(r"/opt/tillwatch[a-z-]*/bin/", f"{Path(sys.executable).parent}/", path.read_text("utf-8"))
        (tmp_path / path.name.replace("@.", "@a.1.")).write_text(text, encoding="utf-8")
    units = [str(path) for path in tmp_path.iterdir()]
    verified = subprocess.run([program, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    ours = [line for line in verified.stderr.splitlines() if "tillwatch" in line]
    assert (verified.returncode, ours) == (0, [])
    for service in units:
        if service.endswith(".service") and not service.endswith(TILL_UNIT.name):
            rated = subprocess.run(
                [program, "security", "--offline=yes", "--threshold=20", "--no-pager", service],
                capture_output=True,
                text=True,
                check=False,
            )
            assert rated.returncode == 0, rated.stdout[-200:] + rated.stderr


# --- the guide


def tomls() -> list[str]:
    return blocks(DEPLOY / "PRODUCTION.md", "toml")


def test_the_guides_settings_load(tmp_path: Path) -> None:
    texts = tomls()
    assert len(texts) >= 3
    for no, text in enumerate(texts):
        path = tmp_path / f"{no}.toml"
        path.write_text(text, encoding="utf-8")
        if "terminal_id" in text or "update.products" in text:
            document = {"terminal_id": "till-7"} | tomllib.loads(text)
            agent_config.parse(document)
        else:
            used = config.load(path)
            usable_url(used.database_url_used)
            assert used.web.behind_proxy


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "path",
    [*GUIDES, *(ROOT / name for name in ("SECURITY.md", "CHANGELOG.md", "agent/README.md", "collector/README.md"))],
    ids=named,
)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, part = target.partition("#")
        if "://" in target:
            continue
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if part:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in {anchor(heading) for heading in headings}, target


def test_the_proxy_hands_over_what_the_collector_checks() -> None:
    said = (DEPLOY / "nginx" / "tillwatch.conf").read_text(encoding="utf-8")
    for header in ("Host $http_host", "X-Forwarded-For $remote_addr", "X-Forwarded-Proto $scheme"):
        assert f"proxy_set_header {header};" in said
    served = WebConfig()
    assert f"server {served.host}:{served.port};" in said
    assert f"client_max_body_size {served.body_bytes_max // 1024**2}m;" in said
    assert said.count("{") == said.count("}")


# --- the board and the alerts


def series(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Name everything that a scrape may hold, with its labels."""
    ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    found = {}
    for collector in list(registry._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            for end in ends.get(family.type, ("",)):
                found[family.name + end] = labels | ({"le"} if end == "_bucket" else set())
    return found


def check_expression(expression: str) -> None:
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    known = series(Metrics().registry)
    asked = re.findall(r"(?<![\w\"])(tillwatch_\w+)(?:\{([^}]*)\})?", expression)
    for name, matchers in asked:
        assert name in known, f"no metric {name}: {expression}"
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert labels <= known[name] | {"instance", "job"}, expression


def rules() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    check_expression(rule["expr"])
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["what_to_do"]) > 20


def test_alerts_have_each_a_name_and_prometheus_takes_them() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    if program := shutil.which("promtool"):
        subprocess.run([program, "check", "rules", str(RULES)], check=True, capture_output=True)


def test_every_panel_of_the_board_asks_for_what_there_is() -> None:
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        for target in panel["targets"]:
            check_expression(target["expr"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            check_expression(re.sub(r"label_values\((\w+), \w+\)", r"\1", variable["definition"]))


def test_the_board_or_an_alert_shows_every_metric() -> None:
    text = BOARD.read_text(encoding="utf-8") + RULES.read_text(encoding="utf-8")
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series(Metrics().registry)}
    assert [name for name in sorted(names) if name not in text] == []
