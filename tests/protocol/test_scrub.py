"""Card numbers and tracks never reach a row. All numbers are the industry's published test numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_protocol.scrub import excerpt, scrubbed, scrubbed_facts

VISA = "4111111111111111"
MASKED = "411111****1111"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # plain
        (f"card {VISA}.", f"card {MASKED}."),
        # as people write it
        ("4111 1111 1111 1111", MASKED),
        ("4111-1111-1111-1111", MASKED),
        # UTF-16
        ("\0".join(VISA), MASKED),
        # 13, 15 and 19 digits: old Visa, Amex, UnionPay
        ("4222222222222", "422222****2222"),
        ("378282246310005", "378282****0005"),
        ("6212345678900000003", "621234****0003"),
        # the 2-series of Mastercard
        ("2223003122003222", "222300****3222"),
        # inside a longer run of digits
        (f"00{VISA}", f"00{MASKED}"),
        # two in a row
        (f"{VISA} {VISA}", f"{MASKED} {MASKED}"),
        # a run, with something of it left before and after
        (f"1 {VISA} 1", f"1 {MASKED} 1"),
        # track 2, and track 1, whatever their check digit
        (";4111111111111112=29122011234567890?", "411111****1112"),
        ("4111111111111112D2912201123456789", "411111****1112"),
        ("%B4111111111111112^DOE/JOHN^2912201123456789?", "411111****1112"),
        # no card: wrong check digit, too short, another industry's first digit, a time
        ("4111111111111112", "4111111111111112"),
        ("411111111111", "411111111111"),
        ("1732233600000", "1732233600000"),
        ("2026-11-21T12:00:00", "2026-11-21T12:00:00"),
        ("", ""),
    ],
)
def test_what_is_masked(text: str, expected: str) -> None:
    assert scrubbed(text) == expected


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_bytes_around_a_card_number_save_it(before: bytes, after: bytes) -> None:
    shown = excerpt(before + b"|" + VISA.encode() + b"|" + after, 1024)
    assert VISA not in shown
    assert all(" " <= character <= "~" for character in shown)
    assert len(shown) <= 1024


@pytest.mark.parametrize("offset", range(1000, 1025))
def test_a_card_number_across_the_end_of_an_excerpt_is_masked(offset: int) -> None:
    shown = excerpt(b"x" * offset + VISA.encode() + b"x", 1024)
    assert "41111111" not in shown


def test_an_excerpt_shows_bytes_that_are_no_text() -> None:
    assert excerpt(b"\x00\xff{\n", 64) == r"\x00\xff{\x0a"


def test_a_digest_is_kept_that_looks_like_a_card_number_by_chance() -> None:
    digest = f"{VISA}{'a' * 48}"
    facts = {"digest": digest, "activation_id": digest[:32], "serial_number": VISA, "version": digest}
    kept = {"digest": digest, "activation_id": digest[:32], "serial_number": VISA}
    assert scrubbed_facts(facts) == kept | {"version": f"{MASKED}{'a' * 48}"}


@pytest.mark.parametrize("name", ["digest", "activation_id"])
def test_a_card_number_is_no_digest(name: str) -> None:
    assert scrubbed_facts({name: VISA}) == {name: MASKED}
