"""What is asked beyond the machine, by real sockets on the loopback: each answer, each refusal, each silence."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from tests.agent import stand

from tillwatch_agent import reach
from tillwatch_agent.asks import dns, http, sntp
from tillwatch_agent.config import AcquirerConfig
from tillwatch_agent.evidence import AcquirerEvidence, Connect, Gateway, Portal, Reply, ServerSaid, Tls
from tillwatch_agent.reach import AcquirerTarget, Purse, TlsContexts, ask_gateway

CA = stand.DATA / "ca.pem"


def acquirer(
    port: int, host: str = "127.0.0.1", *, tls: bool = False, ca_file: Path | None = None, reply_path: str | None = None
) -> AcquirerConfig:
    return AcquirerConfig(name="a", host=host, port=port, tls=tls, ca_file=ca_file, reply_path=reply_path)


def ask(acquirer: AcquirerConfig) -> AcquirerEvidence:
    return AcquirerTarget(acquirer, TlsContexts(), Purse()).ask()


@pytest.mark.usefixtures("no_gaps")
def test_a_gateway_that_refuses_is_alive_and_sampled() -> None:
    state, samples = ask_gateway("127.0.0.1")
    assert (state, len(samples)) == (Gateway.ALIVE, reach.SAMPLES)
    assert None not in samples


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (OSError(113, "No route to host"), Gateway.DEAD),  # EHOSTUNREACH: nobody has the address on the link
        (TimeoutError("timed out"), Gateway.SILENT),
        (OSError(101, "Network is unreachable"), Gateway.SILENT),  # may come from far away: proves nothing
    ],
)
def test_what_a_gateway_does_is_told_by_the_error(
    monkeypatch: pytest.MonkeyPatch, error: OSError, state: Gateway
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(reach, "connected", fail)
    assert ask_gateway("192.0.2.1") == (state, ())


@pytest.mark.usefixtures("no_gaps")
def test_a_gateway_that_is_silent_to_tcp_may_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "sign_ms", lambda *_: (_ for _ in ()).throw(TimeoutError()))
    monkeypatch.setattr(reach, "ping", lambda _: 3.5)
    assert ask_gateway("192.0.2.1", may_ping=True) == (Gateway.ALIVE, (3.5,) * reach.SAMPLES)
    assert ask_gateway("192.0.2.1", may_ping=False) == (Gateway.SILENT, ())


def test_without_a_gateway_none_is_asked() -> None:
    assert ask_gateway(None) == (Gateway.NOT_ASKED, ())


@pytest.mark.usefixtures("no_gaps")
def test_a_first_answer_that_came_to_a_repetition_only_counts_as_lost() -> None:
    assert reach.sampled(1020.0, lambda: 2.0)[:2] == (None, 2.0)
    assert reach.sample_far(()) == ()
    assert None not in reach.sample_far((f"127.0.0.1:{stand.closed_port()}",))


def test_a_sample_that_nobody_answers_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SAMPLE_TIMEOUT_S", 0.05)
    with stand.black_hole() as port:
        assert reach.sample("127.0.0.1", port) is None


def test_a_far_target_is_reached_by_an_answer_or_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "TCP_TIMEOUT_S", 0.05)
    assert reach.ask_far(f"127.0.0.1:{stand.closed_port()}").connect is Connect.CONNECTED
    with stand.black_hole() as port:
        assert reach.ask_far(f"127.0.0.1:{port}").connect is Connect.SILENT
    assert reach.ask_far(f"[::1]:{stand.closed_port()}").target.startswith("[::1]:")


@pytest.fixture
def at_udp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[bytes]]]:
    """A UDP service that answers as a test says; gives what it was asked."""
    with ExitStack() as opened:

        def serving(port_of: ModuleType, *answers: Callable[[bytes], bytes]) -> list[bytes]:
            service = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            service.bind(("127.0.0.1", 0))
            monkeypatch.setattr(port_of, "PORT", service.getsockname()[1])
            heard: list[bytes] = []

            def serve() -> None:
                for answer in answers:
                    asked, who = service.recvfrom(2048)
                    heard.append(asked)
                    service.sendto(answer(asked), who)

            serving = threading.Thread(target=serve, daemon=True)
            serving.start()
            opened.callback(serving.join, 5)
            return heard

        yield serving


def refusing(asked: bytes) -> bytes:
    return asked[:2] + b"\x81\x85" + asked[4:]


@pytest.mark.parametrize(
    ("answers", "said", "rcode"),
    [
        ([lambda asked: asked[:2] + b"\x81\x80" + asked[4:]], ServerSaid.ANSWERED, 0),
        ([refusing], ServerSaid.FAILED, 5),
        # what is no answer to the question is passed over, and it is asked once more
        ([lambda _: b"noise", refusing], ServerSaid.FAILED, 5),
        ([lambda _: b"noise", lambda _: b"noise"], ServerSaid.SILENT, None),
    ],
)
def test_a_name_server_is_asked_itself(
    at_udp: Callable[..., list[bytes]], answers: list[Callable[[bytes], bytes]], said: ServerSaid, rcode: int | None
) -> None:
    heard = at_udp(dns, *answers)
    seen = reach.ask_name_server("127.0.0.1", "pay.example", is_beyond=True)
    assert (seen.said, seen.rcode, seen.is_beyond) == (said, rcode, True)
    assert len(heard) == len(answers)


def test_a_closed_port_is_no_silence_and_what_is_no_name_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "PORT", stand.closed_port())
    assert reach.ask_name_server("127.0.0.1", "pay.example", is_beyond=False).said is ServerSaid.CLOSED
    assert reach.ask_name_server("127.0.0.1", "a..b", is_beyond=False).said is ServerSaid.SILENT


def test_a_name_server_that_says_nothing_is_silent_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "UDP_TIMEOUT_S", 0.02)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        monkeypatch.setattr(dns, "PORT", mute.getsockname()[1])
        assert reach.ask_name_server("127.0.0.1", "pay.example", is_beyond=True).said is ServerSaid.SILENT


def an_hour_ahead(asked: bytes) -> bytes:
    since_s = int((datetime.now(UTC) + timedelta(hours=1) - datetime(1900, 1, 1, tzinfo=UTC)).total_seconds())
    return bytes([0x24, 2]) + bytes(22) + asked[40:] + bytes(8) + since_s.to_bytes(4) + bytes(4)


def test_a_time_server_tells_how_far_this_clock_is_off(at_udp: Callable[..., list[bytes]]) -> None:
    at_udp(sntp, an_hour_ahead)
    offset_s = reach.ask_time("127.0.0.1")
    assert offset_s is not None
    assert offset_s == pytest.approx(3600, abs=30)


@pytest.mark.usefixtures("no_name_service")
def test_a_time_server_that_is_not_there_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sntp, "PORT", stand.closed_port())
    assert reach.ask_time("127.0.0.1") is None
    assert reach.ask_time("ntp.example") is None


@pytest.mark.parametrize(
    ("answer", "says", "portal"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", None, Portal.OPEN),
        (b"HTTP/1.1 200 OK\r\n\r\n<p>success</p>", "success", Portal.OPEN),
        # where to sign in, or a page to do so
        (b"HTTP/1.1 302 Found\r\nLocation: http://hotel.example/\r\n\r\n", None, Portal.INTERCEPTED),
        (b"HTTP/1.1 200 OK\r\n\r\nWelcome to the hotel", "success", Portal.INTERCEPTED),
        (b"HTTP/1.1 200 OK\r\n\r\n", None, Portal.INTERCEPTED),
        (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n", None, Portal.INTERCEPTED),
        # the page's own errors, and what is no page
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", None, Portal.SILENT),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "success", Portal.SILENT),
        (b"SSH-2.0-x\r\n", None, Portal.SILENT),
    ],
)
def test_a_portal_is_what_answers_in_the_place_of_a_page_that_is_known(
    answer: bytes, says: str | None, portal: Portal
) -> None:
    with stand.page_server(answer) as port:
        seen, _, took_ms = reach.ask_portal(f"http://127.0.0.1:{port}/check", says)
    assert seen is portal
    assert took_ms is not None


@pytest.mark.usefixtures("no_name_service")
def test_a_page_that_cannot_be_asked_for_proves_nothing() -> None:
    assert reach.ask_portal(f"http://127.0.0.1:{stand.closed_port()}", None)[0] is Portal.SILENT
    assert reach.ask_portal("http://check.example/", None)[0] is Portal.SILENT


def test_of_an_endless_page_little_is_read() -> None:
    with stand.page_server(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000) as port:
        _, page, _ = reach.ask_portal(f"http://127.0.0.1:{port}", "y")
    assert page is not None
    assert len(page.body) < http.ANSWER_BYTES_MAX


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Reply.ANSWERED),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Reply.ANSWERED),  # it serves, if not this
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Reply.FAILED),
        (b"", Reply.FAILED),  # it ended the connection
    ],
)
def test_an_acquirers_reply_says_whether_it_serves(answer: bytes, reply: Reply) -> None:
    with stand.page_server(answer) as port:
        seen = ask(acquirer(port, reply_path="/health"))
    assert (seen.connect, seen.reply, "reply_ms" in seen.measures) == (
        Connect.CONNECTED,
        reply,
        reply is Reply.ANSWERED,
    )


def test_an_acquirer_that_says_nothing_is_silent_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "REPLY_TIMEOUT_S", 0.05)

    def listen_only(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with stand.tcp_server(listen_only) as port:
        assert ask(acquirer(port, reply_path="/health")).reply is Reply.SILENT


def test_an_acquirer_that_ends_tls_after_the_handshake_fails_by_its_reply() -> None:
    with stand.tls_server() as port:  # reads one byte and goes
        seen = ask(acquirer(port, "localhost", tls=True, ca_file=CA, reply_path="/"))
    assert (seen.tls, seen.reply) == (Tls.TRUSTED, Reply.FAILED)


def test_what_the_allowance_does_not_hold_is_left_out() -> None:
    purse = Purse()
    while purse.pay(1000):
        pass
    with stand.tls_server() as tls, stand.tcp_printer() as plain:
        by_tls, by_tcp = (
            AcquirerTarget(each, TlsContexts(), purse).ask()
            for each in (acquirer(tls, "localhost", tls=True), acquirer(plain, reply_path="/"))
        )
    assert (by_tls.connect, by_tls.tls) == (Connect.CONNECTED, Tls.LEFT_OUT)
    assert (by_tcp.connect, by_tcp.reply) == (Connect.CONNECTED, Reply.LEFT_OUT)


def test_a_certificate_that_has_ended_is_told_with_its_times() -> None:
    with stand.tls_server("expired.pem") as port:
        seen = ask(acquirer(port, "localhost", tls=True, ca_file=CA))
    assert seen.validity is not None
    assert seen.validity.ends_at == datetime(2021, 1, 1, tzinfo=UTC)
    assert seen.detail == "certificate has expired: valid from 2020-01-01 to 2021-01-01"


def test_a_ping_without_the_right_to_one_is_no_answer() -> None:
    assert reach.ping("192.0.2.1") is None


def test_an_acquirer_is_reached_by_name_tcp_and_tls_with_its_phases() -> None:
    with stand.tls_server() as port:
        seen = ask(acquirer(port, "localhost", tls=True, ca_file=CA))
    assert (seen.connect, seen.tls) == (Connect.CONNECTED, Tls.TRUSTED)
    assert set(seen.measures) == {"dns_ms", "tcp_ms", "tls_ms"}
    assert seen.certificate_days_left is not None
    assert seen.certificate_days_left > 365


def test_an_acquirer_without_tls_is_reached_by_tcp() -> None:
    with stand.tcp_printer() as port:
        seen = ask(acquirer(port))
    assert (seen.connect, seen.tls, set(seen.measures)) == (Connect.CONNECTED, Tls.NOT_ASKED, {"tcp_ms"})


def test_a_refusal_is_told_from_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "TCP_TIMEOUT_S", 0.05)
    assert ask(acquirer(stand.closed_port())).connect is Connect.REFUSED
    with stand.black_hole() as port:
        silent = ask(acquirer(port))
    assert (silent.connect, silent.detail) == (Connect.SILENT, "127.0.0.1: timed out")


@pytest.mark.parametrize(
    ("certificate", "host", "ca_file", "tls", "verify_code"),
    [
        ("expired.pem", "127.0.0.1", CA, Tls.UNVERIFIED, 10),
        ("server.pem", "127.0.0.1", None, Tls.UNVERIFIED, 20),  # an authority that the system does not know
        ("server.pem", "other.example", CA, Tls.UNVERIFIED, 62),  # another host's certificate
        ("server.pem", "127.0.0.1", Path("/nowhere/ca.pem"), Tls.NO_CA, None),
        ("server.pem", "127.0.0.1", stand.DATA / "server.key", Tls.NO_CA, None),  # no certificate in it
    ],
)
def test_a_certificate_is_judged_by_what_openssl_says_of_it(
    certificate: str, host: str, ca_file: Path | None, tls: Tls, verify_code: int | None
) -> None:
    with stand.tls_server(certificate) as port:
        target = AcquirerTarget(acquirer(port, host, tls=True, ca_file=ca_file), TlsContexts(), Purse())
        seen = target._connect(AcquirerEvidence(name="a"), ("127.0.0.1",))
    assert (seen.tls, seen.verify_code) == (tls, verify_code)


def test_plain_text_on_the_port_is_no_tls() -> None:
    with stand.tcp_server(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        seen = ask(acquirer(port, tls=True, ca_file=CA))
    assert (seen.connect, seen.tls) == (Connect.CONNECTED, Tls.FAILED)
    assert seen.detail


def test_a_server_that_says_nothing_is_no_tls_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def listen_only(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    monkeypatch.setattr(reach, "TLS_TIMEOUT_S", 0.05)
    with stand.tcp_server(listen_only) as port:
        seen = ask(acquirer(port, tls=True, ca_file=CA))
    assert seen.tls is Tls.FAILED


def test_one_context_serves_all_acquirers_of_a_ca_file() -> None:
    contexts = TlsContexts()
    first = contexts.of(CA)
    assert contexts.of(CA) is first
    contexts.forget()
    assert contexts.of(CA) is not first


def test_the_next_address_is_tried_when_the_first_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "TCP_TIMEOUT_S", 0.05)
    with stand.black_hole() as port, stand.tcp_printer(address=("127.0.0.2", port)):
        target = AcquirerTarget(acquirer(port), TlsContexts(), Purse())
        seen = target._connect(AcquirerEvidence(name="a"), ("127.0.0.1", "127.0.0.2"))
    assert (seen.connect, seen.address, seen.detail) == (Connect.CONNECTED, "127.0.0.2", None)
