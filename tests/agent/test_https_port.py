"""The port over HTTPS, against the simulated terminal behind real TLS, and against servers that misbehave."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agent import stand

from tillwatch_agent import config, https_port, ports, probes
from tillwatch_agent.drivers import Attachment, Device, nexo
from tillwatch_agent.https_port import HttpsPort, PortUntrusted
from tillwatch_agent.ports import ForbiddenBytes, PortError, PortLost, PortUnreachable
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator import https_port as simulated
from tillwatch_simulator.devices.nexo import Terminal
from tillwatch_simulator.errors import PartFailed

CA = stand.DATA / "ca.pem"
KEY = stand.DATA / "server.key"
BODY = b'{"asked": true}'


@contextmanager
def terminal(certificate: str = "server.pem") -> Iterator[simulated.HttpsPort]:
    with simulated.HttpsPort(Terminal(slow_answer_s=0.3), 0, certificate=stand.DATA / certificate, key=KEY) as port:
        yield port


@contextmanager
def answering(answer: bytes | Callable[[ssl.SSLSocket], None]) -> Iterator[HttpsPort]:
    """A TLS server that hears a request and says this."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stand.DATA / "server.pem", KEY)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            answer(secured) if callable(answer) else secured.sendall(answer)

    with stand.tcp_server(serve) as tcp_port:
        port = https(f"https://localhost:{tcp_port}/nexo")
        port.open()
        yield port
        port.close()


def https(url: str, ca_file: Path = CA, server_name: str | None = None) -> HttpsPort:
    return HttpsPort(url=url, allowed={BODY}, ca_file=ca_file, server_name=server_name)


def asked(port: HttpsPort, timeout_s: float = 5.0) -> bytes:
    return port.ask(BODY, bool, timeout_s=timeout_s, settle_s=0.0)


def probe_of(address: str, **more: str) -> probes.DeviceProbe:
    document = {
        "terminal_id": "t",
        "network": {"enabled": False},
        "machine": {"enabled": False},
        "payment_device": [
            {
                "name": "counter",
                "protocol": "nexo",
                "port": address,
                "ca_file": str(CA),
                "settings": {"sale_id": "till-1", "poi_id": "P400-1"},
            }
            | more
        ],
    }
    (probe,) = probes.build(config.parse(document))
    assert isinstance(probe, probes.DeviceProbe)
    return probe


def test_a_terminal_is_asked_over_tls_and_its_faults_are_seen_to_come_and_go() -> None:
    with terminal() as served:
        probe = probe_of(served.address)
        said = [set(probe.poll()[0].true_codes)]
        for change in (served.set, served.clear):
            change("reader_broken")
            said.append(set(probe.poll()[0].true_codes))
        assert said == [set(), {Code.READER_FAILURE}, set()]


@pytest.mark.parametrize(
    ("certificate", "name", "code"),
    [
        ("expired.pem", "localhost", Code.CERTIFICATE_EXPIRED),
        ("server.pem", "terminal.example.com", Code.CERTIFICATE_UNTRUSTED),  # another name
    ],
)
def test_a_certificate_that_does_not_hold_is_told_and_nothing_is_sent(certificate: str, name: str, code: str) -> None:
    with terminal(certificate) as served:
        (seen,) = probe_of(served.address, server_name=name).poll()
    assert (seen.health, seen.reason) == (Health.UNKNOWN, code)


def test_a_certificate_of_nobody_we_know_is_untrusted(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    with terminal() as served:
        (seen,) = probe_of(served.address, ca_file=str(tmp_path / "none.pem")).poll()
        assert seen.reason == Code.CERTIFICATE_UNTRUSTED
        assert "expected certificates in PEM" in str(seen.true_codes)
        with pytest.raises(PortUntrusted):
            HttpsPort(url=served.address, allowed={BODY}).open()


def test_a_terminal_without_tls_is_told() -> None:
    with stand.tcp_server(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as tcp_port:
        (seen,) = probe_of(f"https://127.0.0.1:{tcp_port}/nexo").poll()
    assert (seen.health, seen.reason) == (Health.UNKNOWN, Code.TLS_FAILURE)


def test_a_terminal_that_hangs_up_at_the_handshake_is_silent() -> None:
    with stand.tcp_server(lambda _: None) as tcp_port:
        port = https(f"https://127.0.0.1:{tcp_port}/nexo")
        with pytest.raises(PortError):
            port.open()


def test_a_terminal_whose_server_fails_is_told_by_its_status() -> None:
    with terminal() as served:
        served.set("server_error")
        (seen,) = probe_of(served.address).poll()
    assert seen.true_codes == {Code.GARBLED_RESPONSE: "expected an answer, got HTTP 500"}


def test_a_pulled_cable_is_unreachable_until_it_is_put_back() -> None:
    with terminal() as served:
        probe = probe_of(served.address)
        said = []
        for change in (None, served.set, served.clear):
            if change:
                change("unplugged")
            said.append(probe.poll()[0].reason)
        assert said == [None, Code.NO_RESPONSE, None]


def test_a_name_without_an_address_and_a_closed_port_are_unreachable() -> None:
    with pytest.raises(PortUnreachable, match="refused"):
        https(f"https://127.0.0.1:{stand.closed_port()}").open()
    with pytest.raises(PortUnreachable, match="has no address"):
        https("https://terminal.invalid:8443/nexo").open()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}extra", b"{}"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}"),  # it ends where the connection does
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlate", b"HTTP 503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b""),  # cut short
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", b"{}"),  # a length that is none
        (b"", b""),
        (b"SSH-2.0-x\r\n", b"SSH-2.0-x\r\n"),  # not HTTP: as it is, for the driver to call garbled
    ],
)
def test_a_body_is_read_however_it_is_delimited(answer: bytes, body: bytes) -> None:
    with answering(answer) as port:
        assert asked(port) == body


def test_a_body_that_comes_byte_by_byte_is_gathered_and_one_that_never_ends_is_left() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    def slowly(secured: ssl.SSLSocket) -> None:
        for byte in whole:
            secured.sendall(bytes([byte]))

    with answering(slowly) as port:
        assert asked(port) == b"{}"

    def never(secured: ssl.SSLSocket) -> None:
        secured.sendall(whole[:-1])
        secured.recv(1)

    with answering(never) as port:
        assert asked(port, timeout_s=0.2) == b""


def test_a_megabyte_is_cut_where_the_limit_is() -> None:
    flood = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1_000_000)
    with answering(flood) as port:
        assert len(asked(port)) <= ports.ANSWER_BYTES_MAX + 1


def test_only_allowed_bodies_are_sent_and_only_over_an_open_port() -> None:
    with answering(b"") as port:
        with pytest.raises(ForbiddenBytes):
            port.ask(b'{"pay": 1}', bool, timeout_s=1.0, settle_s=0.0)
        assert port.drain(5.0) == 0
    with pytest.raises(PortLost, match="it is not open"):
        asked(port)


def test_a_port_that_was_closed_under_a_request_is_lost() -> None:
    with answering(b"") as port:
        assert port._connection
        port._connection.close()
        with pytest.raises(PortLost):
            asked(port)


def test_an_address_of_version_6_is_understood() -> None:
    port = HttpsPort(url="https://[::1]:8443", allowed=nexo.Requests(sale_id="a", poi_id="b"))
    assert (port._host, port._tcp_port, port._path, port.attachment) == ("::1", 8443, "/", Attachment.TCP)


def test_a_certificate_that_is_none_ends_the_simulator(tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match="expected a certificate and its key"):
        simulated.HttpsPort(Terminal(), 0, certificate=tmp_path / "none", key=KEY)


def test_a_taken_port_is_named_by_the_simulator() -> None:
    with terminal() as served:
        tcp_port = int(served.address.rpartition(":")[2].partition("/")[0])
        another = simulated.HttpsPort(Terminal(), tcp_port, certificate=stand.DATA / "server.pem", key=KEY)
        with pytest.raises(PartFailed, match="expected to listen"), another:
            pass
        assert served.describe() == f"{served.address}: faults: none; P400-1"


@pytest.mark.parametrize(
    ("protocol", "port", "said"),
    [
        ("nexo", "tcp://127.0.0.1:1", "pin_pad:counter: port: expected https://host:port for nexo, got tcp://127"),
        ("zvt", "https://127.0.0.1:1", "port: expected a serial line or tcp://host:port for zvt, got https://127"),
    ],
)
def test_a_port_of_another_kind_is_refused_at_the_start(protocol: str, port: str, said: str) -> None:
    settings = {"sale_id": "a", "poi_id": "b"} if protocol == "nexo" else {}
    line = {"name": "counter", "protocol": protocol, "port": port, "settings": settings}
    with pytest.raises(config.ConfigError, match=said):
        probes.build(config.parse({"terminal_id": "t", "payment_device": [line]}))


def test_a_password_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("123456\n")
    line = {"name": "c", "protocol": "zvt", "port": "tcp://127.0.0.1:1", "password_file": str(tmp_path / "pw")}
    probe, *_ = probes.build(config.parse({"terminal_id": "t", "payment_device": [line]}))
    assert isinstance(probe, probes.DeviceProbe)
    assert bytes.fromhex("05 01 03 12 34 56") in probe._driver.allowed


def test_the_handshake_and_the_head_are_limited() -> None:
    assert (
        nexo.driver(Device(kind="pin_pad", name="1", settings={"sale_id": "a", "poi_id": "b"})).timing.reply_s
        > https_port.HANDSHAKE_TIMEOUT_S
    )
