"""The doctor: what it finds, what it advises, how it lays it out."""

import fcntl
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.agent import stand
from tests.agent.conftest import BrokerByHand
from tests.agent.moments import MORNING

from tillwatch_agent import config, connection_note, culprit, doctor, probes, recognise
from tillwatch_agent.checks import Check, Verdict
from tillwatch_agent.clock import BY_NOBODY
from tillwatch_agent.config import AgentConfig, BrokerConfig, MachineConfig, NetworkConfig
from tillwatch_agent.culprit import Part, Seen
from tillwatch_agent.diagnosis import MISCONFIGURED, NOT_ASKED, UPLINK_DOWN
from tillwatch_agent.doctor import ADVICE, Beside
from tillwatch_agent.drivers import Attachment
from tillwatch_agent.evidence import Evidence
from tillwatch_agent.floor import BUILT_AT
from tillwatch_agent.health import Observation
from tillwatch_agent.job_standing import Reason
from tillwatch_agent.moment import Moment
from tillwatch_agent.network import NetworkProbe
from tillwatch_agent.outbox import Outbox
from tillwatch_agent.probes import poll_all
from tillwatch_agent.runtime import OUTBOX_FILE
from tillwatch_agent.updates import NOT_INSTALLED
from tillwatch_agent.words import Language, Words
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health

PRINTER = config.parse({"terminal_id": "t", "printer": [{"name": "bar", "port": "/dev/null"}]})


def checked(observation: Observation, settings: AgentConfig = PRINTER) -> Check:
    return doctor.check_component(observation, settings)


@pytest.mark.parametrize(
    ("observation", "verdict", "found", "advice"),
    [
        (Observation(component="pos_printer:bar", health=Health.OK), Verdict.OK, "ok", None),
        (
            Observation(component="pos_printer:bar", health=Health.FAULT, true_codes={Code.PAPER_END: None}),
            Verdict.PROBLEM,
            "fault: paper_end",
            "load paper",
        ),
        (
            Observation(component="pos_printer:bar", health=Health.OK, true_codes={Code.PAPER_NEAR_END: None}),
            Verdict.WARNING,
            "ok: paper_near_end",
            "have a new roll ready",
        ),
        (
            Observation(component="acquirer:a", health=Health.UNKNOWN, reason=UPLINK_DOWN),
            Verdict.PROBLEM,
            "unknown: uplink_down",
            "judged when network:uplink is well again",
        ),
        # a code that nobody has written an advice for is told as it is
        (
            Observation(component="scale:1", health=Health.FAULT, true_codes={"overweight": "3.2 kg"}),
            Verdict.PROBLEM,
            "fault: overweight (3.2 kg)",
            None,
        ),
    ],
)
def test_a_component_is_told_with_what_to_do(
    observation: Observation, verdict: Verdict, found: str, advice: str | None
) -> None:
    assert checked(observation) == Check(name=observation.component, verdict=verdict, found=found, advice=advice)


def test_every_code_that_the_agent_can_raise_has_an_advice() -> None:
    raised = {value for name, value in vars(Code).items() if name.isupper()}
    raised |= {UPLINK_DOWN, NOT_ASKED, MISCONFIGURED, NOT_INSTALLED, Reason.NOT_STARTED}
    the_collectors_own = {Code.SILENT, Code.IDENTITY_SHARED}
    elsewhere = {Code.PORT_REFUSED, Code.NOT_ATTACHED, Code.NO_RESPONSE, Code.PORT_BUSY}  # advised by the place
    never_at_a_first_look = {Code.STALE}
    assert raised - elsewhere - never_at_a_first_look - the_collectors_own == set(ADVICE)


def test_a_refused_port_names_the_group_to_join() -> None:
    refused = Observation(
        component="pos_printer:bar",
        health=Health.UNKNOWN,
        reason=Code.PORT_REFUSED,
        true_codes={Code.PORT_REFUSED: "x"},
    )
    group = "root"  # /dev/null's
    assert f"group: sudo usermod -aG {group} " in str(checked(refused).advice)
    gone = config.parse({"terminal_id": "t", "printer": [{"name": "bar", "port": "/dev/nowhere"}]})
    assert "sudo usermod -aG dialout " in str(checked(refused, gone).advice)


def test_a_printer_that_is_not_attached_is_told_with_the_ports_that_are() -> None:
    absent = {"health": Health.ABSENT, "reason": Code.NOT_ATTACHED, "true_codes": {Code.NOT_ATTACHED: "x"}}
    printer = checked(Observation(component="pos_printer:bar", **absent))  # type: ignore[arg-type]  # one table of several types
    scanner = checked(Observation(component="scanner:1", **absent))  # type: ignore[arg-type]  # as above
    assert "serial ports seen here: " in str(printer.advice)
    assert scanner.advice == "plug it in, and check its power"


def silent(code: str, port: str, state_dir: Path) -> Check:
    """A printer at this port, of which nothing else is known."""
    table = {"terminal_id": "t", "printer": [{"name": "bar", "port": port}], "state_dir": str(state_dir)}
    observation = Observation(
        component="pos_printer:bar", health=Health.UNKNOWN, reason=code, true_codes={code: "nothing came"}
    )
    return checked(observation, config.parse(table))


def test_a_silent_printer_is_advised_by_its_line(tmp_path: Path) -> None:
    assert "speed and parity" in str(silent(Code.NO_RESPONSE, "/dev/ttyS0", tmp_path).advice)
    by_tcp = silent(Code.NO_RESPONSE, "tcp://10.0.0.9:9100", tmp_path)
    assert by_tcp.advice == "check that the printer is on, its network cable, and that port has its address"


def test_a_busy_port_is_the_agents_own_while_it_runs(tmp_path: Path) -> None:
    assert "another program" in str(silent(Code.PORT_BUSY, "/dev/ttyS0", tmp_path).advice)
    with (tmp_path / "outbox.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "the agent itself is running" in str(silent(Code.PORT_BUSY, "/dev/ttyS0", tmp_path).advice)


@pytest.mark.parametrize("is_file", [True, False])
def test_a_printer_at_what_is_no_serial_line_is_told_so(tmp_path: Path, *, is_file: bool) -> None:
    path = tmp_path / "file" if is_file else Path("/dev/null")
    if is_file:
        path.touch()
    table = {"name": "bar", "port": str(path)}
    settings = config.parse(
        {"terminal_id": "t", "printer": [table], "network": {"enabled": False}, "machine": {"enabled": False}}
    )
    (observation,) = poll_all(probes.build(settings))
    check = checked(observation, settings)
    assert check.found == f"absent: not_attached ({path}: it is not a serial line)"
    assert str(check.advice).startswith("name the printer's own serial line")


@pytest.mark.parametrize(
    ("at", "verdict", "found"),
    [
        (MORNING, Verdict.OK, "2026-11-21 08:00 UTC"),
        (
            datetime(1970, 1, 1, tzinfo=UTC),
            Verdict.PROBLEM,
            "1970-01-01 00:00 UTC, but it is 2026-11-20 08:00 at least",
        ),
    ],
)
def test_a_clock_that_cannot_be_right_is_a_problem(tmp_path: Path, at: datetime, verdict: Verdict, found: str) -> None:
    with closing(Outbox.open(tmp_path / OUTBOX_FILE)) as outbox:
        outbox.store_time(MORNING - timedelta(days=1))
    check = doctor.check_clock(doctor.known_clock(tmp_path), Moment(monotonic_s=0, at=at))
    assert (check.name, check.verdict, check.found) == ("clock", verdict, found)
    assert bool(check.advice) is (verdict is Verdict.PROBLEM)


def test_without_an_outbox_the_agents_own_floor_is_known(tmp_path: Path) -> None:
    assert doctor.known_clock(tmp_path).floor == BUILT_AT


def test_with_a_wrong_clock_a_broker_proves_itself_by_chain_and_name() -> None:
    ca_file = stand.DATA / "ca.pem"
    with stand.tls_server("expired.pem") as port:
        check = doctor.check_broker(BrokerConfig(host="localhost", port=port, ca_file=ca_file), BY_NOBODY)
        by_wall = doctor.check_broker(BrokerConfig(host="localhost", port=port, ca_file=ca_file))
    assert (check.verdict, by_wall.verdict) == (Verdict.OK, Verdict.PROBLEM)
    assert check.found.endswith("; its certificate's times are not judged")


def test_a_state_directory_that_the_system_does_not_make_is_a_problem() -> None:
    check = doctor.check_state_dir(Path("/proc/tillwatch/state"))
    assert check.verdict is Verdict.PROBLEM
    assert "cannot write in /proc/tillwatch/state: No such file or directory" in check.found


def test_a_disk_that_is_not_there_is_a_problem_where_it_is_watched(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    (check,) = doctor.check_disk_path(MachineConfig(disk_path=nowhere))
    assert (check.name, check.verdict) == ("machine.disk_path", Verdict.PROBLEM)
    assert check.found == f"{nowhere}: No such file or directory; the disk is not measured"
    assert doctor.check_disk_path(MachineConfig(disk_path=nowhere, enabled=False)) == ()
    assert doctor.check_disk_path(MachineConfig(disk_path=tmp_path)) == ()


def test_a_state_directory_is_writable_or_can_be_made_or_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made, there, blocked = (
        doctor.check_state_dir(path) for path in (tmp_path / "a/b", tmp_path, tmp_path / "file/state")
    )
    assert (made.verdict, made.found) == (Verdict.OK, f"{tmp_path}/a/b will be made")
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "it leaves nothing behind"
    assert (there.verdict, there.found) == (Verdict.OK, str(tmp_path))
    assert blocked.verdict is Verdict.PROBLEM
    assert f"sudo mkdir -p {tmp_path}/file/state" in str(blocked.advice)


@pytest.mark.parametrize(
    ("content", "mode", "verdict"),
    [
        ("hunter2\n", 0o600, Verdict.OK),
        ("hunter2\n", 0o644, Verdict.WARNING),
        ("", 0o600, Verdict.PROBLEM),
        (None, 0, Verdict.PROBLEM),
    ],
)
def test_a_secret_is_there_and_its_own(tmp_path: Path, content: str | None, mode: int, verdict: Verdict) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    (check,) = doctor.check_secrets(BrokerConfig(username="t", password_file=path))
    assert (check.name, check.verdict) == ("broker.password_file", verdict)
    assert "hunter2" not in check.found


def test_a_key_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    broker = BrokerConfig(ca_file=tmp_path / "ca", cert_file=tmp_path / "cert", key_file=tmp_path / "key")
    (check,) = doctor.check_secrets(broker)
    assert (check.name, check.verdict) == ("broker.key_file", Verdict.PROBLEM)


def test_a_broker_is_reached_without_tls_and_with_it() -> None:
    with stand.tcp_printer() as port:
        plain = doctor.check_broker(BrokerConfig(host="localhost", port=port))
    with stand.tls_server() as port:
        secured = doctor.check_broker(BrokerConfig(host="localhost", port=port, ca_file=stand.DATA / "ca.pem"))
    assert (plain.verdict, plain.found.partition(" ")[2]) == (Verdict.OK, "without TLS")
    assert (secured.verdict, secured.found.partition(" ")[2]) == (Verdict.OK, "by TLSv1.3")


def test_a_broker_that_cannot_be_used_is_told_with_what_to_check() -> None:
    ca_file = stand.DATA / "ca.pem"
    with stand.tls_server("expired.pem") as expired, stand.tcp_server(lambda c: c.sendall(b"no TLS here")) as plain:
        said = {
            "is not known here": doctor.check_broker(BrokerConfig(host="localhost", port=expired, ca_file=ca_file)),
            "no TLS": doctor.check_broker(BrokerConfig(host="localhost", port=plain, ca_file=ca_file)),
            "refused": doctor.check_broker(BrokerConfig(host="localhost", port=stand.closed_port())),
            "no CA": doctor.check_broker(BrokerConfig(host="localhost", port=expired, ca_file=Path("/nowhere"))),
        }
    assert {check.verdict for check in said.values()} == {Verdict.PROBLEM}
    assert "clock" in str(said["is not known here"].advice)
    assert "speaks TLS" in str(said["no TLS"].advice)
    assert "the address of yours as host of [broker]" in str(said["refused"].advice)
    assert "files that [broker] names" in str(said["no CA"].advice)


def test_a_broker_without_an_address_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BROKER_TIMEOUT_S", 0.0)
    check = doctor.check_broker(BrokerConfig(host="broker.invalid"))
    assert (check.verdict, check.found) == (Verdict.PROBLEM, "no address for broker.invalid")


def at_broker(port: int, state_dir: Path, **broker: object) -> AgentConfig:
    return config.parse({"terminal_id": "till-1", "state_dir": str(state_dir), "broker": {"port": port, **broker}})


@pytest.mark.parametrize(
    ("connack", "verdict", "found"),
    [
        (b"\x20\x02\x00\x00", Verdict.OK, "till-1 is let in"),
        (b"\x20\x02\x00\x04", Verdict.PROBLEM, "till-1: refused: Bad user name or password"),
        (b"\x20\x02\x00\x05", Verdict.PROBLEM, "till-1: refused: Not authorized"),
    ],
)
def test_a_login_is_tried_under_the_terminals_own_name(
    by_hand: BrokerByHand, tmp_path: Path, connack: bytes, verdict: Verdict, found: str
) -> None:
    with by_hand.answering(connack):
        check = doctor.check_login(at_broker(by_hand.port, tmp_path))
    assert (check.name, check.verdict, check.found) == ("broker.login", verdict, found)
    assert (check.advice is None) is (verdict is Verdict.OK)


def test_a_running_agent_is_not_thrown_out_for_a_login(tmp_path: Path) -> None:
    settings = at_broker(stand.closed_port(), tmp_path)
    with (tmp_path / "outbox.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        check = doctor.check_login(settings)
    assert (check.verdict, check.found) == (Verdict.UNTESTED, "the agent is running; login not tried")
    assert doctor.look_beside(tmp_path) is Beside.NOBODY


@pytest.mark.parametrize(
    ("is_online", "failure", "verdict", "found"),
    [
        (True, None, Verdict.OK, "the agent is running; online since 2026-11-22 09:30 UTC"),
        (
            False,
            "refused: Not authorized",
            Verdict.PROBLEM,
            "the agent is running; offline since 2026-11-22 09:30 UTC; refused: Not authorized",
        ),
        (False, None, Verdict.PROBLEM, "the agent is running; offline since 2026-11-22 09:30 UTC"),
    ],
)
def test_a_running_agent_says_itself_how_it_stands_with_its_broker(
    tmp_path: Path, is_online: bool, failure: str | None, verdict: Verdict, found: str
) -> None:
    settings = at_broker(stand.closed_port(), tmp_path)
    since = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    connection_note.write(tmp_path, is_online=is_online, since=since, failure=failure)
    with (tmp_path / "outbox.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        check = doctor.check_login(settings)
    assert (check.verdict, check.found) == (verdict, found)
    assert (check.advice is None) is is_online


@pytest.mark.parametrize(
    ("verdict", "is_running", "said"),
    [
        (
            Verdict.PROBLEM,
            False,
            "next: mend what is marked PROBLEM, then look again: tillwatch-agent doctor --config a",
        ),
        (Verdict.WARNING, False, "next: start the agent's unit, or by hand: tillwatch-agent run --config a"),
        (Verdict.OK, True, "next: nothing; the agent is running, and reports"),
    ],
)
def test_each_look_ends_with_what_to_do_next(tmp_path: Path, verdict: Verdict, is_running: bool, said: str) -> None:
    settings = at_broker(stand.closed_port(), tmp_path).model_copy(update={"printer": PRINTER.printer})
    checks = [Check(name="broker", verdict=verdict, found="")]
    with (tmp_path / "outbox.db.lock").open("w") as lock:
        if is_running:
            fcntl.flock(lock, fcntl.LOCK_EX)
        next_step = doctor.next_step(settings, Path("a"), checks)
    assert next_step == said
    assert Words(Language.CHINESE).said(next_step).startswith("下一步：")  # noqa: RUF001 - Chinese punctuation


def test_a_till_of_which_no_device_is_watched_is_told_so_before_it_starts(tmp_path: Path) -> None:
    first, second = doctor.next_step(at_broker(1883, tmp_path), Path("a.toml"), []).splitlines()
    assert first == "next: name the devices of the till in a.toml, since none is watched"
    assert second.startswith("next: start the agent's unit")


def test_a_lock_that_cannot_be_read_leaves_the_login_untried(tmp_path: Path) -> None:
    (tmp_path / "outbox.db.lock").symlink_to("outbox.db.lock")  # a loop, which not even the superuser opens
    assert doctor.look_beside(tmp_path) is Beside.UNTOLD


def test_a_missing_password_is_told_once_with_where_to_write_it(tmp_path: Path) -> None:
    path = tmp_path / "password"
    with stand.tcp_printer() as port:
        checks = doctor.check_ways_in(at_broker(port, tmp_path, username="till-1", password_file=str(path)))
    assert [(check.name, check.verdict) for check in checks] == [
        ("broker.password_file", Verdict.PROBLEM),
        ("broker", Verdict.OK),
    ]
    assert checks[0].advice == f"write the password there, then: chmod 600 {path}"


CHECKS = (
    Check(name="broker", verdict=Verdict.OK, found="localhost:1883 without TLS"),
    Check(name="pos_printer:bar", verdict=Verdict.PROBLEM, found="fault: paper_end", advice="load paper"),
    Check(name="cash_drawer:bar", verdict=Verdict.WARNING, found="ok: drawer_open", advice="close the drawer"),
)


def test_the_table_is_aligned_and_ends_in_the_sum() -> None:
    assert doctor.table(CHECKS).splitlines() == [
        "ok       broker           localhost:1883 without TLS",
        "PROBLEM  pos_printer:bar  fault: paper_end",
        "                          -> load paper",
        "warning  cash_drawer:bar  ok: drawer_open",
        "                          -> close the drawer",
        "1 problem",
    ]
    assert doctor.table(CHECKS[:1]).endswith("all is well")


def test_the_same_is_one_json_object() -> None:
    document = json.loads(doctor.as_json("till-1", CHECKS))
    assert (document["terminal_id"], document["ok"], len(document["checks"])) == ("till-1", False, 3)
    assert document["checks"][0] == {"name": "broker", "verdict": "ok", "found": "localhost:1883 without TLS"}


def test_a_warning_is_no_problem() -> None:
    assert doctor.is_well([CHECKS[0], CHECKS[2]])
    assert not doctor.is_well(CHECKS)


def test_where_releases_come_to_is_looked_at(tmp_path: Path) -> None:
    product = {"name": "till", "installer": "config", "folder": str(tmp_path / "till"), "unguarded": True}
    document = {
        "metadata_url": "https://x/m",
        "targets_url": "https://x/t",
        "trusted_root": str(tmp_path / "root.json"),
        "products": [product],
    }
    update = config.parse({"terminal_id": "t", "update": document}).update
    root, slots = doctor.check_update(update)
    assert (root.verdict, slots.verdict) == (Verdict.PROBLEM, Verdict.OK)
    assert root.advice is not None
    assert "root.json of `release init`" in root.advice
    (tmp_path / "root.json").touch()
    root, _ = doctor.check_update(update)
    assert root.verdict is Verdict.OK
    assert list(doctor.check_update(config.parse({"terminal_id": "t"}).update)) == []


def test_slots_that_cannot_be_written_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    product = config.ProductConfig.model_validate({"name": "till", "installer": "agent", "folder": "/opt/till/own"})
    monkeypatch.setattr("os.access", lambda *_: False)
    (slots,) = doctor.check_update(config.UpdateConfig.model_construct(products=(product,), trusted_root=None))
    assert slots.verdict is Verdict.PROBLEM
    assert slots.advice is not None
    assert slots.advice.startswith("sudo mkdir -p /opt/till/own && sudo chown ")


def test_a_product_of_which_nothing_is_there_yet_is_a_warning() -> None:
    absent = checked(Observation(component="application:till", health=Health.ABSENT, reason="not_installed"))
    assert (absent.verdict, absent.advice) == (Verdict.WARNING, "a rollout brings its first release")
    idle = checked(Observation(component="application:till", health=Health.UNKNOWN, reason="not_started"))
    assert idle.verdict is Verdict.PROBLEM


def test_the_way_out_is_told_by_the_look_that_was_made() -> None:
    watching = NetworkProbe(network=NetworkConfig(), acquirers=())
    assert doctor.check_way_out([watching], [], PRINTER) == ()
    watching.seen = Evidence(has_link=False)
    names = [check.name for check in doctor.check_way_out([watching], [], PRINTER)]
    assert names[:2] == ["network.link", "network.address"]
    by_modem = config.parse({"terminal_id": "t", "modem": {"port": "/dev/ttyUSB2"}})
    absent = Observation(component="modem:0", health=Health.FAULT, true_codes={Code.SIM_ABSENT: None})
    (modem, *_) = doctor.check_way_out([watching], [absent], by_modem)
    assert (modem.name, modem.verdict) == ("network.modem", Verdict.PROBLEM)


@pytest.mark.parametrize(
    ("port", "attachment"),
    [
        ("tcp://10.0.0.9:9100", Attachment.TCP),
        ("/dev/usb/lp0", Attachment.USB),
        ("/dev/ttyACM3", Attachment.USB),
        ("/dev/ttyUSB0", Attachment.SERIAL),
    ],
)
def test_each_configured_line_is_a_part_that_may_go_silent_with_others(port: str, attachment: Attachment) -> None:
    settings = config.parse({"terminal_id": "t", "printer": [{"name": "bar", "port": port}]})
    look = Observation(component="pos_printer:bar", health=Health.UNKNOWN, reason=Code.NO_RESPONSE)
    assert culprit.parts(probes.lines(settings), [look]) == (
        Part(component="pos_printer:bar", attachment=attachment, seen=Seen.SILENT),
    )
    assert culprit.parts(probes.lines(settings), []) == ()


def test_each_attached_device_is_told_as_watched_or_known_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for location, ids in (("1-1", "04b8:0202"), ("1-2", "05e0:1701"), ("1-3", "0403:6001"), ("1-4", "6868:0500")):
        stand.usb_device(tmp_path, location, ids)
    device = {"name": "s", "vendor_id": "05e0", "product_id": "1701"}
    settings = config.parse({"terminal_id": "t", "usb_device": [device]})
    found = recognise.attached(settings, tmp_path)
    monkeypatch.setattr(recognise, "attached", lambda _: found)
    checks = list(doctor.check_attached(settings))
    assert [(check.verdict, check.found.partition(": ")[2]) for check in checks] == [
        (Verdict.WARNING, "ESC/POS printer, not watched"),
        (Verdict.OK, "watched"),
        (Verdict.WARNING, "serial adapter, not watched"),
        (Verdict.UNTESTED, "not recognised"),
    ]
    assert checks[0].advice == "doctor --write FILE has it watched"
    assert doctor.is_well(checks)


def test_an_acquirer_is_told_with_the_time_of_each_phase() -> None:
    look = Observation(component="acquirer:a", health=Health.OK, measures={"dns_ms": 3.0, "tcp_ms": 12.5})
    assert checked(look).found == "ok: dns 3 ms, tcp 12.5 ms"
