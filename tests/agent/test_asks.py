"""What the network's probe asks and how it reads answers: by the RFCs' layouts, cut short, and with noise."""

import random
import ssl
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.agent import stand

from tillwatch_agent.asks import dns, http, icmp, sntp
from tillwatch_agent.asks.validity import Validity, validity

ASKED = dns.question(0x1234, "pay.example.com")
NOISE_SEED = 6


def test_a_page_is_asked_for_without_holding_the_connection() -> None:
    asked = http.request("check.example", "/ok")
    assert asked.startswith(b"GET /ok HTTP/1.1\r\nHost: check.example\r\n")
    assert asked.endswith(b"\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("came", "page"),
    [
        (b"HTTP/1.0 204\r\n\r\n", http.Page(status=204)),
        (b"HTTP/1.1 200 OK\r\n\r\nbody", http.Page(status=200, body=b"body")),
        (
            b"HTTP/1.1 302 Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nLOCATION:  http://x/\r\n\r\n",
            http.Page(status=302, date=datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC), location="http://x/"),
        ),
        # a form of old, which a reader must still take
        (
            b"HTTP/1.1 200 OK\r\nDate: Sunday, 06-Nov-94 08:49:37 GMT\r\n\r\n",
            http.Page(status=200, date=datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ),
        # dates that are none
        (b"HTTP/1.1 200 OK\r\nDate: Sun, 66 Nov 1994 08:49:37 GMT\r\n\r\n", http.Page(status=200)),
        (b"HTTP/1.1 200 OK\r\nDate: yesterday\r\n\r\n", http.Page(status=200)),
        # what is no page
        (b"", None),
        (b"HTTP/1.1 2", None),
        (b"HTTP/1.1 abc\r\n\r\n", None),
        ("HTTP/1.1 \xb2\xb2\xb2".encode("latin-1"), None),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"\x15\x03\x03\x00\x02\x02\x28", None),
    ],
)
def test_a_page_is_read_as_far_as_it_matters(came: bytes, page: http.Page | None) -> None:
    assert http.page(came) == page


def noise() -> list[bytes]:
    rng = random.Random(NOISE_SEED)
    return [rng.randbytes(rng.randrange(600)) for _ in range(2000)]


def test_a_question_for_a_name_is_laid_out_as_rfc_1035_says() -> None:
    header, name = bytes.fromhex("1234 0100 0001 0000 0000 0000"), b"\x03pay\x07example\x03com\0"
    assert header + name + b"\0\1\0\1" == ASKED
    assert dns.question(0x1234, "pay.example.com.") == ASKED


@pytest.mark.parametrize(
    "name",
    [
        "",  # the root is no host
        "a..b",  # an empty label
        "a" * 64 + ".example",  # a label too long
        ".".join(["a" * 60] * 5),  # a name too long
        "\udcff.example",  # what is no text
    ],
)
def test_what_is_no_name_is_not_asked(name: str) -> None:
    assert dns.question(1, name) is None


def test_a_name_in_other_letters_is_asked_in_ascii() -> None:
    assert b"\x0cxn--brse-5qa\x07example" in (dns.question(1, "b\u00f6rse.example") or b"")


def answered(*, number: int = 0x1234, flags: int = 0x8180, records: int = 1, asked: bytes | None = None) -> bytes:
    body = (ASKED or b"")[12:] if asked is None else asked
    return struct.pack("!6H", number, flags, 1 if body else 0, records, 0, 0) + body


@pytest.mark.parametrize(
    ("came", "rcode", "is_settled"),
    [
        (answered(), dns.Rcode.NO_ERROR, True),
        (answered(flags=0x8183, records=0), dns.Rcode.NO_SUCH_NAME, True),  # it knows that there is none
        (answered(flags=0x8182, records=0), dns.Rcode.SERVER_FAILURE, False),
        (answered(flags=0x8185, records=0), dns.Rcode.REFUSED, False),
        (answered(asked=(ASKED or b"")[12:].upper()), dns.Rcode.NO_ERROR, True),  # letter case is no difference
        (answered(flags=0x8181, records=0, asked=b""), dns.Rcode.FORMAT_ERROR, False),  # it could not read the question
    ],
)
def test_a_name_servers_answer_tells_its_code(came: bytes, rcode: int, *, is_settled: bool) -> None:
    answer = dns.answer(ASKED or b"", came)
    assert answer is not None
    assert (answer.rcode, answer.is_settled) == (rcode, is_settled)


@pytest.mark.parametrize(
    "came",
    [
        b"",
        answered()[:11],  # cut within the header
        answered(number=0x1235),  # the answer to another question
        answered(flags=0x0100),  # a question, not an answer
        answered(asked=(dns.question(1, "pay.example.net") or b"")[12:]),  # another name
    ],
)
def test_what_answers_another_question_is_no_answer(came: bytes) -> None:
    assert dns.answer(ASKED or b"", came) is None


ASKED_AT = datetime(2026, 11, 21, 8, tzinfo=UTC)
NONCE = b"8 random"


def told(at: datetime, *, first: int = 0x24, stratum: int = 2, nonce: bytes = NONCE) -> bytes:
    """As a server lays it out: leap, version, mode; stratum; what we sent; its time."""
    since_s = int((at - datetime(1900, 1, 1, tzinfo=UTC)).total_seconds())
    return bytes([first, stratum]) + bytes(22) + nonce + bytes(8) + struct.pack("!2I", since_s % 2**32, 2**31)


def test_the_time_is_asked_with_a_number_in_the_place_of_ours() -> None:
    asked = sntp.question(NONCE)
    assert (len(asked), asked[0], asked[40:]) == (48, 0x23, NONCE)


@pytest.mark.parametrize(
    "at", [ASKED_AT, datetime(2036, 2, 7, 6, 28, 16, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)]
)
def test_a_time_is_told_across_the_eras(at: datetime) -> None:
    answer = sntp.answer(sntp.question(NONCE), told(at))
    assert answer == sntp.Told(at=at + timedelta(seconds=0.5), stratum=2)


@pytest.mark.parametrize(
    "came",
    [
        told(ASKED_AT)[:47],  # cut
        told(ASKED_AT, nonce=b"anothers"),
        told(ASKED_AT, first=0x23),  # a question
        told(ASKED_AT, first=0xE4),  # a server that lost the time itself
        told(ASKED_AT, stratum=0),  # kiss of death
        told(ASKED_AT, stratum=16),  # not synchronised
    ],
)
def test_who_does_not_know_the_time_tells_none(came: bytes) -> None:
    assert sntp.answer(sntp.question(NONCE), came) is None


def test_the_offset_is_from_the_middle_of_the_wait() -> None:
    at = sntp.Told(at=ASKED_AT + timedelta(seconds=61), stratum=2)
    assert sntp.offset_s(at, ASKED_AT, ASKED_AT + timedelta(seconds=2)) == 60


def test_an_echo_is_known_by_its_number() -> None:
    asked = icmp.echo(7)
    assert asked == bytes([8, 0, 0, 0, 0, 0, 0, 7])
    assert icmp.is_echo_of(7, bytes([0, 0, 1, 2, 3, 4, 0, 7]))
    assert not icmp.is_echo_of(7, bytes([0, 0, 1, 2, 3, 4, 0, 8]))
    assert not icmp.is_echo_of(7, bytes([3, 0, 1, 2, 3, 4, 0, 7]))  # unreachable
    assert not icmp.is_echo_of(7, asked[:7])


@pytest.mark.parametrize(
    ("said", "is_allowed"),
    [
        ("1\t0\n", False),  # the kernel's default: nobody
        ("0 2147483647", True),
        ("1000 1000", True),
        ("5 999", False),
        ("", False),
        ("all of them", False),
        ("-1 x", False),
    ],
)
def test_the_right_to_an_echo_is_read_from_the_kernel(said: str, *, is_allowed: bool) -> None:
    assert icmp.is_allowed(said, frozenset({1000, 1001})) is is_allowed


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert("-----BEGIN" + path.read_text().split("-----BEGIN", 2)[1])


YEAR_2020 = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "ends_at"),
    [
        ("expired.pem", datetime(2021, 1, 1, tzinfo=UTC)),  # two digits of the year
        ("server.pem", datetime(2120, 1, 1, tzinfo=UTC)),  # four digits, as it must be from 2050
    ],
)
def test_a_certificates_times_are_read_from_its_bytes(name: str, ends_at: datetime) -> None:
    seen = validity(der(stand.DATA / name))
    assert seen == Validity(begins_at=YEAR_2020, ends_at=ends_at)
    assert seen.covers(YEAR_2020)
    assert not seen.covers(ends_at + timedelta(seconds=1))
    assert not seen.covers(YEAR_2020 - timedelta(seconds=1))


def element(tag: int, *content: bytes) -> bytes:
    data = b"".join(content)
    return bytes([tag, len(data)]) + data


def certificate(begins: bytes, *, version: bytes = b"") -> bytes:
    before = version + element(2, b"\1") + element(0x30) + element(0x30)
    return element(0x30, element(0x30, before, element(0x30, begins, element(0x17, b"300101000000Z"))))


def test_a_certificate_of_the_first_version_and_of_the_last_century_is_read() -> None:
    seen = validity(certificate(element(0x17, b"990101000000Z")))
    assert seen == Validity(begins_at=datetime(1999, 1, 1, tzinfo=UTC), ends_at=datetime(2030, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x02\x01\x01",  # another element
        b"\x30\x80",  # a length that is not told
        b"\x30\x84\0\0\0\1x",  # a length of four bytes
        b"\x30\x82\1",  # a length cut short
        b"\x30\x05abc",  # an element cut short
        element(0x30, element(0x30)),  # nothing in it
        certificate(element(0x0C, b"990101000000Z")),  # a text where a time is expected
        certificate(element(0x17, b"9901010000Z")),  # without seconds
        certificate(element(0x17, "99é".encode())),
    ],
)
def test_what_is_no_certificate_has_no_times(data: bytes) -> None:
    assert validity(data) is None


def test_noise_is_no_answer_and_raises_nothing() -> None:
    whole = der(stand.DATA / "server.pem")
    for came in noise():
        assert validity(came) is None
        assert sntp.answer(sntp.question(NONCE), came) is None
        assert http.page(came) is None
        dns.answer(ASKED or b"", came)
        icmp.is_echo_of(1, came)
    for cut in range(len(whole)):
        assert validity(whole[:cut]) is None
