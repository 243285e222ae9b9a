"""What may be a password."""

import pytest
from tests.collector.people_words import PASSWORD

from tillwatch_collector import passwords


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("two lamps on a green table", None),
        ("绿色桌子上的两盏灯和一本书", None),  # any script
        ("kT9#vQ2x!mZ7", None),
        ("elevenchars", passwords.Weakness.SHORT),
        ("x" * 201, passwords.Weakness.LONG),
        ("aaaaaaaaaaaaa", passwords.Weakness.COMMON),
        ("121212121212", passwords.Weakness.COMMON),
        ("123456789012", passwords.Weakness.COMMON),
        ("abcdefghijklmn", passwords.Weakness.COMMON),
        ("qwertyuiopas", passwords.Weakness.COMMON),
        ("Password2026!", passwords.Weakness.COMMON),
        ("P@$$w0rd2026", passwords.Weakness.COMMON),
        ("tillwatch123", passwords.Weakness.COMMON),
        ("1qaz2wsx3edc", passwords.Weakness.COMMON),
        ("ann.lee@shop1", passwords.Weakness.OWN_NAME),
        ("leeannleeann1", passwords.Weakness.OWN_NAME),
        ("Ann lost two green umbrellas", None),  # a name among other words is no name
    ],
)
def test_a_password_is_long_and_not_what_everybody_tries_first(password: str, why: passwords.Weakness | None) -> None:
    assert passwords.weakness(password, "ann.lee@shop", "Ann Lee") is why


def test_the_same_letters_composed_otherwise_are_the_same_password() -> None:
    kept = passwords.hashed("cafe\u0301 au lait deux")
    assert passwords.verify("caf\u00e9 au lait deux", kept)


def test_one_password_has_another_hash_each_time() -> None:
    assert passwords.hashed(PASSWORD) != passwords.hashed(PASSWORD)
