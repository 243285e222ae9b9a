"""Who may do what on a real broker with real certificates, as `pki` configures it.

What must never arrive is waited for by what comes after it: the broker hands on in order what one client sends.
"""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.live.certificates import Authority, Client, Papers, lets_in, secured, signs_in
from tests.live.mosquitto import Mosquitto
from tests.live.stack import WAIT_S, Agent, Collector, until

from tillwatch_protocol.vocabulary import PAYLOAD_BYTES_MAX
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.ports import PtyPort

VERSIONS = [
    pytest.param(ssl.TLSVersion.TLSv1_2, id="TLS 1.2"),
    pytest.param(ssl.TLSVersion.TLSv1_3, id="TLS 1.3"),
]


class Shop:
    """An authority, its broker, and who has papers."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        names = ("till-1", "till-2", "till-3", "collector.1", "collector.2")
        self.papers = {name: self.authority.issue(name) for name in names}
        self.broker = self.authority.broker(folder / "mosquitto")

    def client(self, name: str, client_id: str | None = None) -> Client:
        return Client(self.broker, self.papers[name], name if client_id is None else client_id)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"))
    with made.broker:
        yield made


def test_a_terminal_speaks_under_its_own_name_only(shop: Shop) -> None:
    foreign = [
        "tillwatch/v1/t/till-2/up/heartbeat",
        "tillwatch/v1/t/till-2/up/presence",
        "tillwatch/v1/t/till-2/dn/ack",
        "tillwatch/v1/t/till-1/dn/commands",  # its own topic, the wrong way
        "tillwatch/v1/t/collector.1/up/heartbeat",
        "tillwatch/v1/c/collector.1/state",
        "tillwatch/v1/c/collector.1/canary",
        "tillwatch/v1/c/till-1/state",
    ]
    with shop.client("collector.1") as hears, shop.client("till-2") as victim, shop.client("till-1") as speaker:
        hears.subscribe("tillwatch/v1/#")
        victim.subscribe("tillwatch/v1/t/till-2/dn/+", "tillwatch/v1/c/+/state")
        for topic in foreign:
            speaker.publish(topic, "forged")
            speaker.publish(topic, "forged", retain=True)
        speaker.publish("tillwatch/v1/t/till-1/up/heartbeat", "own")
        hears.wait_for("own")
        hears.publish("tillwatch/v1/t/till-2/dn/ack", "genuine")
        victim.wait_for("genuine")
        assert "forged" not in hears.payloads + victim.payloads
    with shop.client("collector.1") as hears:
        hears.subscribe("tillwatch/v1/t/+/up/#", "tillwatch/v1/c/collector.1/#")
        hears.publish("tillwatch/v1/c/collector.1/canary", "after what is retained")
        hears.wait_for("after what is retained")
        assert "forged" not in hears.payloads, "nothing forged was kept, either"


def test_a_terminal_cannot_leave_a_will_in_anothers_name(shop: Shop) -> None:
    with shop.client("collector.1") as hears:
        hears.subscribe("tillwatch/v1/t/+/up/#")
        forger = shop.client("till-1").will("tillwatch/v1/t/till-2/up/presence", "forged")
        with suppress(ConnectionRefusedError), forger:  # a broker may look at the will at the door, or when it is due
            forger.break_off()
        with shop.client("till-1").will("tillwatch/v1/t/till-1/up/presence", "own") as honest:
            honest.break_off()
        hears.wait_for("own")
        assert hears.payloads.count("forged") == 0


def test_a_terminal_hears_only_what_is_said_to_it(shop: Shop) -> None:
    with shop.client("till-2") as other, shop.client("collector.1") as says, shop.client("till-1") as spy:
        other.publish("tillwatch/v1/t/till-2/up/presence", "retained before", retain=True)
        spy.subscribe("#", "$SYS/#", "tillwatch/v1/t/+/up/#", "tillwatch/v1/t/till-2/dn/+", "tillwatch/v1/c/#")
        spy.subscribe("$share/spies/tillwatch/v1/t/+/up/+")
        other.publish("tillwatch/v1/t/till-2/up/events", "not for the spy")
        says.publish("tillwatch/v1/t/till-2/dn/commands", "not for the spy")
        says.publish("tillwatch/v1/c/collector.1/canary", "not for the spy")
        says.publish("tillwatch/v1/c/collector.1/state", "for everyone")
        says.publish("tillwatch/v1/t/till-1/dn/ack", "for till-1")
        spy.wait_for("for till-1")
        assert spy.topics == {"tillwatch/v1/c/collector.1/state", "tillwatch/v1/t/till-1/dn/ack"}


def test_a_terminal_cannot_take_the_client_id_of_another(shop: Shop) -> None:
    with shop.client("till-2") as victim, shop.client("collector.1") as says:
        victim.subscribe("tillwatch/v1/t/till-2/dn/+")
        with shop.client("till-1", client_id="till-2") as thief:
            thief.subscribe("tillwatch/v1/t/till-2/dn/+")
            says.publish("tillwatch/v1/t/till-2/dn/ack", "still here")
            victim.wait_for("still here")
            says.publish("tillwatch/v1/t/till-1/dn/ack", "nothing")
        assert not victim.gone.is_set()
        assert thief.received == []


def test_a_second_connection_with_its_own_papers_ends_the_first(shop: Shop) -> None:
    with shop.client("till-1") as first, shop.client("till-1", client_id="another"):
        assert first.gone.wait(WAIT_S)


def test_a_process_hears_all_terminals_shares_the_work_and_speaks_as_no_other(shop: Shop) -> None:
    shared = "$share/ingest/tillwatch/v1/t/+/up/+"
    with shop.client("collector.1") as one, shop.client("collector.2") as two, shop.client("till-1") as till:
        one.subscribe(shared, "tillwatch/v1/c/+/state")
        two.subscribe(shared, "tillwatch/v1/c/+/state", "tillwatch/v1/c/collector.2/canary")
        for number in range(20):
            till.publish("tillwatch/v1/t/till-1/up/heartbeat", f"beat {number}")
        one.publish("tillwatch/v1/c/collector.2/state", "forged")
        one.publish("tillwatch/v1/c/collector.2/canary", "forged")
        one.publish("tillwatch/v1/t/till-1/up/heartbeat", "forged")
        one.publish("tillwatch/v1/c/collector.1/state", "one")
        two.publish("tillwatch/v1/c/collector.2/state", "two")
        for process in (one, two):
            process.wait_for("one")
            process.wait_for("two")
        until(lambda: len([p for p in one.payloads + two.payloads if "beat" in p]) == 20 or None, "each beat once")
        assert "forged" not in one.payloads + two.payloads
        assert any("beat" in payload for payload in one.payloads)
        assert any("beat" in payload for payload in two.payloads)


def test_the_right_to_be_a_process_is_not_had_by_a_name(shop: Shop) -> None:
    refused = shop.authority.run("issue", "terminal", "collector.1", code=1)
    assert "terminal name: expected" in refused
    refused = shop.authority.run("issue", "process", "till-1", code=1)
    assert "process name: expected a name with a dot" in refused
    # A process that the access list does not name may connect, and that is all.
    stranger = Client(shop.broker, shop.authority.issue("ingest.9"), "collector.1")
    with shop.client("collector.1") as genuine, stranger as other, shop.client("till-1") as till:
        genuine.subscribe("tillwatch/v1/t/+/up/#")
        other.subscribe("tillwatch/v1/#")
        till.publish("tillwatch/v1/t/till-1/up/events", "for the genuine")
        other.publish("tillwatch/v1/t/till-1/dn/commands", "forged")
        genuine.wait_for("for the genuine")
        genuine.publish("tillwatch/v1/c/collector.1/state", "for everyone")
        other.wait_for("for everyone")
        assert "for the genuine" not in other.payloads
        assert not genuine.gone.is_set()


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_comes_in_without_a_clients_certificate_of_ours(
    shop: Shop, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    ca = shop.authority.ca / "ca.crt"
    foreign = Authority(tmp_path).issue("till-1")
    table = [
        ("none", Papers(ca=ca)),
        ("of another authority", Papers(ca=ca, cert=foreign.cert, key=foreign.key)),
        ("the broker's own", shop.authority.server()),
        ("the authority's", Papers(ca=ca, cert=ca, key=shop.authority.ca / "ca.key")),
    ]
    assert [what for what, papers in table if lets_in(shop.broker, papers, "till-1", version=version)] == []
    assert lets_in(shop.broker, shop.papers["till-3"], version=version), "and one of ours does"


def test_the_largest_payload_passes_and_a_larger_packet_ends_the_connection(shop: Shop) -> None:
    with shop.client("collector.1") as hears, shop.client("till-1") as speaker:
        hears.subscribe("tillwatch/v1/t/+/up/#")
        speaker.publish("tillwatch/v1/t/till-1/up/events", b"e" * PAYLOAD_BYTES_MAX)
        until(lambda: hears.news or None, "the largest payload")
        speaker.send("tillwatch/v1/t/till-1/up/events", b"x" * (PAYLOAD_BYTES_MAX + 4096))
        assert speaker.gone.wait(WAIT_S)
        with shop.client("till-2") as other:
            other.publish("tillwatch/v1/t/till-2/up/events", "after it")
        until(lambda: len(hears.news) > 1 or None, "what came after it")
        assert [len(payload) for payload in hears.news] == [PAYLOAD_BYTES_MAX, len("after it")]


@pytest.mark.parametrize("version", VERSIONS)
def test_who_is_revoked_is_out_and_all_others_stay(shop: Shop, version: ssl.TLSVersion) -> None:
    name = f"stolen-{version.name}"
    stolen, address = shop.authority.issue(name), f"{shop.broker.host}:{shop.broker.port}"
    context = stolen.context(version)
    with secured(shop.broker, context) as sock:
        assert signs_in(sock, name)
        ticket = sock.session
    with (
        shop.client("till-1") as till,
        shop.client("collector.1") as process,
        Client(shop.broker, stolen, name) as thief,
    ):
        shop.authority.run(
            "revoke", name, "--reason", "key_compromise", "--out", shop.authority.broker_folder / "crl.pem"
        )
        said = shop.authority.run("evict", name, "--broker", address, "--wait-s", "0", code=2)
        assert "the newest crl.pem is not in force there" in said, "the broker was not told yet, and the command knows"
        assert not thief.gone.is_set()

        shop.broker.reload()
        shop.authority.run("evict", name, "--broker", address)  # waits 60 s at most, and ends well only if it is out
        assert thief.gone.wait(WAIT_S)
        assert not lets_in(shop.broker, stolen, name, version=version)
        assert not resumes(shop.broker, context, ticket), "nor by the TLS session that it had"

        again = shop.authority.issue(name)
        assert lets_in(shop.broker, again, name, version=version), "the same name, with a new key"
        assert not till.gone.is_set()
        assert not process.gone.is_set()


def resumes(broker: Mosquitto, context: ssl.SSLContext, ticket: ssl.SSLSession | None) -> bool:
    try:
        with secured(broker, context, ticket) as sock:
            return signs_in(sock)
    except (ssl.SSLError, ConnectionError):
        return False


def test_a_broker_that_goes_by_an_older_list_is_found_out(shop: Shop) -> None:
    address, installed = f"{shop.broker.host}:{shop.broker.port}", shop.authority.broker_folder / "crl.pem"
    older = installed.read_bytes()
    shop.authority.hand_over_list(shop.broker)
    assert "in force" in shop.authority.run("evict", "--broker", address)
    installed.write_bytes(older)
    shop.broker.kill()
    shop.broker.start()
    said = shop.authority.run("evict", "--broker", address, "--wait-s", "0", code=2)
    assert "the newest crl.pem is not in force there" in said
    shop.authority.hand_over_list(shop.broker)
    assert "in force" in shop.authority.run("evict", "--broker", address)


def test_a_collector_and_an_agent_meet_over_certificates(shop: Shop, tmp_path: Path) -> None:
    tables = shop.papers["collector.1"].table(shop.broker)
    collector = Collector(tmp_path / "collector", process="collector.1", tables=tables)
    with collector, PtyPort(Printer(), tmp_path / "printer") as printer:
        broker = shop.papers["till-3"].table(shop.broker)
        with Agent(tmp_path / "agent", collector, "till-3", printer.address, broker=broker) as agent:
            printer.set("cover_open")
            until(lambda: collector.tickets(subject_id="till-3", open="true"), "a ticket")
            until(lambda: agent.unacknowledged == 0 or None, "its events to be acknowledged")
            (stream,) = collector.streams("till-3")
            assert stream["prefix_seq"] > 0


def test_a_collector_does_not_start_under_a_name_that_is_not_its_certificates(shop: Shop, tmp_path: Path) -> None:
    tables = shop.papers["collector.2"].table(shop.broker)
    collector = Collector(tmp_path, process="collector.1", tables=tables)
    collector.process.start()
    until(lambda: not collector.process.running or None, "it to give up")
    assert "expected the certificate of collector.1" in collector.process.tail()
    assert "got that of 'collector.2'" in collector.process.tail()
