"""What must not be kept is taken out: card numbers and tracks. By the agent before its outbox, by the collector again.

A card number is 13 to 19 digits (ISO/IEC 7812-1) that begin like a payment card's and satisfy the Luhn check; digits
may be apart by a space, a dash or a NUL (UTF-16). Track 1 and track 2 (ISO/IEC 7813) are known by their separators,
Luhn or not. What remains is the first six and the last four digits, which PCI DSS allows to be shown. Longer runs of
digits are looked through at every offset: rather too much is masked than too little.
"""

import re
from collections.abc import Mapping

MASK = "****"
SERIAL_NUMBER = "serial_number"
DIGESTS = frozenset({"activation_id", "digest"})
"""Facts that are random by their nature; kept where they look as such: 32 or 64 hexadecimal digits."""

_DIGITS_MIN, _DIGITS_MAX = 13, 19
_ALL_DIGITS_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_RUN = re.compile(r"\d(?:[ \-\x00]?\d){12,}")
_TRACK_1 = re.compile(r"%?[A-Z]?(\d[\d ]{11,21}\d)\^[^^\r\n]{0,26}\^[^?\r\n]{0,80}\??")
_TRACK_2 = re.compile(r";?(\d{13,19})[=D]\d{4,24}\??")
_IIN = re.compile(r"2[2-7]|[3-6]|8[12]")
"""Mastercard 2-series and Mir, Amex, Diners and JCB, Visa, Mastercard, Discover, Maestro and UnionPay, RuPay."""

_DIGEST = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")

_OVERLAP_BYTES = 128
"""A card number or a track across the end of an excerpt is still seen whole."""


def suspect(payload: bytes) -> bool:
    """Whether anything in a payload is long enough to be a card number: a quick look that spares the thorough one."""
    return b"0" * _DIGITS_MIN in payload.translate(_ALL_DIGITS_ZERO, b" -\0")


def scrubbed(text: str) -> str:
    """Return the text with every card number and track masked."""
    text = _TRACK_1.sub(lambda match: _masked(match[1]), text)
    text = _TRACK_2.sub(lambda match: _masked(match[1]), text)
    return _RUN.sub(lambda match: _run_scrubbed(match[0]), text)


def scrubbed_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """Return facts without card numbers.

    A serial number is kept, since one in ten looks like one by chance, and so is a digest, of which one in two hundred
    does: by it a release is known.
    """
    return {name: text if _is_kept(name, text) else scrubbed(text) for name, text in facts.items()}


def _is_kept(name: str, text: str) -> bool:
    return name == SERIAL_NUMBER or (name in DIGESTS and _DIGEST.fullmatch(text) is not None)


def excerpt(payload: bytes, length_max: int) -> str:
    """Return the beginning of any bytes, scrubbed, in printable ASCII; at most `length_max` characters."""
    text = scrubbed(payload[: length_max + _OVERLAP_BYTES].decode("latin-1"))
    return "".join(_printable(character) for character in text)[:length_max]


def _printable(character: str) -> str:
    return character if " " <= character <= "~" else f"\\x{ord(character):02x}"


def _run_scrubbed(run: str) -> str:
    places = [index for index, character in enumerate(run) if character.isdigit()]
    digits = "".join(run[place] for place in places)
    kept: list[str] = []
    begin = start = 0
    while start <= len(digits) - _DIGITS_MIN:
        length = _card_length(digits, start)
        if not length:
            start += 1
            continue
        kept += [run[begin : places[start]], _masked(digits[start : start + length])]
        start += length
        begin = places[start - 1] + 1
    return "".join(kept) + run[begin:]


def _card_length(digits: str, start: int) -> int:
    """How many digits from `start` are a card number; 0 when none are."""
    if not _IIN.match(digits, start):
        return 0
    longest = min(_DIGITS_MAX, len(digits) - start)
    return next((n for n in range(longest, _DIGITS_MIN - 1, -1) if _luhn(digits[start : start + n])), 0)


def _luhn(digits: str) -> bool:
    plain = sum(int(digit) for digit in digits[-1::-2])
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (plain + doubled) % 10 == 0


def _masked(number: str) -> str:
    digits = re.sub(r"\D", "", number)
    return f"{digits[:6]}{MASK}{digits[-4:]}"
