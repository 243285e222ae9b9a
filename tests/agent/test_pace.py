"""How fast a download may be, and how slow it must not be, in stepped time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_agent.installer.pace import SIP_BYTES_MAX, SIP_BYTES_MIN, Limits, begin, look, took, waited


@given(st.lists(st.tuples(st.integers(1, 65536), st.floats(0, 3)), min_size=1, max_size=60))
def test_a_limit_is_kept_on_average(sips: list[tuple[int, float]]) -> None:
    """Whatever comes when: never more than the limit over the whole, and one second's worth."""
    pace, now_s, total = begin(Limits(bytes_per_s_max=10_000), 0.0), 0.0, 0
    for count, pause_s in sips:
        pace, wait_s = took(pace, count, now_s)
        total += count
        now_s += wait_s
        assert total <= 10_000 * (now_s + 1) + 1
        now_s += pause_s


def test_without_a_limit_nobody_waits() -> None:
    pace, wait_s = took(begin(Limits(), 0.0), 10**9, 0.0)
    assert wait_s == 0
    assert pace.window_bytes == 10**9


@pytest.mark.parametrize(
    ("came", "now_s", "goes_on"),
    [
        (0, 59.9, True),  # the window is not over
        (0, 60.0, False),
        (512 * 60 - 1, 60.0, False),
        (512 * 60, 60.0, True),
    ],
)
def test_too_little_in_a_window_ends_it(came: int, now_s: float, goes_on: bool) -> None:
    pace, _ = took(begin(Limits(), 0.0), came, 1.0)
    assert (look(pace, now_s) is not None) is goes_on


def test_every_window_counts_for_itself() -> None:
    pace, _ = took(begin(Limits(), 0.0), 10**9, 1.0)
    second = look(pace, 60.0)
    assert second is not None
    assert look(second, 119.0) is not None
    assert look(second, 120.0) is None


def test_what_we_waited_ourselves_counts_for_nobody() -> None:
    pace = waited(begin(Limits(), 0.0), 30.0)
    assert look(pace, 60.0) is not None
    assert look(pace, 90.0) is None


@pytest.mark.parametrize(
    ("most", "sip"), [(None, SIP_BYTES_MAX), (1100, SIP_BYTES_MIN), (80_000, 10_000), (10**9, SIP_BYTES_MAX)]
)
def test_sips_are_small_where_the_line_is(most: float | None, sip: int) -> None:
    assert Limits(bytes_per_s_max=most).sip_bytes == sip


@pytest.mark.parametrize("wrong", [{"bytes_per_s_max": 1000.0}, {"window_s": 0.0}, {"bytes_per_s_min": -1.0}])
def test_limits_that_no_download_can_keep_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least twice"):
        Limits(**wrong)
