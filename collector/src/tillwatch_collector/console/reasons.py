"""What the machine wrote as the reason of a step, in a person's language.

Journals keep what was said when it was said, in English; judge's, the clocks' and the rollouts' sentences are few, and
are told again from their parts. What is none of these, and whatever a person wrote, is shown as it is written. A change
violates this when a sentence loses one of its numbers or names here.
"""

import re
from collections.abc import Callable, Mapping

from tillwatch_collector.console.texts import Texts

_CONDITION = r"(?P<code>[a-z][a-z0-9_]*) on (?P<component>\S+?)"
_SHARE = r"(?P<hit>\d+) of (?P<total>\d+) terminals"
_SENTENCES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (key, re.compile(pattern, re.DOTALL))
    for key, pattern in (
        ("reason_lasted", rf"{_CONDITION} for (?P<span>[0-9.e+]+) s"),
        ("reason_stood", _CONDITION),
        ("reason_owed_maintenance", rf"{_CONDITION}: still so at the end of a maintenance"),
        ("reason_owed_outage", rf"{_CONDITION}: no outage explains it, or it outlasted one"),
        ("reason_owed_restart", rf"{_CONDITION}: it stood without a ticket when judge began"),
        ("reason_proved", rf"{_CONDITION} proved gone by (?P<terminal>\S+) itself"),
        (
            "reason_outage_fleet",
            rf"{_CONDITION} at {_SHARE} of the fleet, from one moment on",
        ),
        (
            "reason_outage",
            rf"{_CONDITION} at {_SHARE} of (?P<kind>[a-z]+) (?P<node>.+), from one moment on",
        ),
        (
            "reason_outage_over",
            rf"{_CONDITION} proved gone by (?P<count>\d+) terminals themselves; who is left is judged by itself",
        ),
        ("reason_flaps", rf"{_CONDITION} flaps: raised (?P<count>\d+) times; it must be well for longer now"),
        ("reason_flaps_no_more", rf"{_CONDITION} flaps no more, after (?P<count>\d+) raises"),
        ("reason_share", r"(?P<share>\d+)% of the time to (?P<clock>[a-z]+) is gone"),
        ("reason_expired", r"stayed resolved for the policy's time"),
        ("reason_part", r"part of outage (?P<outage>\d+)"),
        ("reason_halted", r"rollout of (?P<target>.+) halted in wave (?P<wave>\d+): (?P<reasons>.+)"),
        ("rollout_wave_begins", r"wave (?P<wave>\d+) of (?P<waves>\d+) begins"),
        ("reason_shown_after", r"shown after the update that was halted: (?P<target>.+)"),
    )
)

_SAID: Mapping[str, Callable[[Texts, str], str]] = {
    "code": lambda words, code: words.word("conditions", code),
    "component": lambda words, component: words.component(component),
    "span": lambda words, span: words.duration(float(span)),
    "kind": lambda words, kind: words.word("ticket_subjects", kind),
    "clock": lambda words, clock: words.word("ticket_promises", clock),
    "share": lambda words, share: words.share(int(share) / 100),
}


def told(words: Texts, actor: str, reason: str) -> str:
    """Say a reason; what is no sentence of the machine's is returned as it is."""
    if not actor.startswith("machine:"):
        return reason
    for key, pattern in _SENTENCES:
        if found := pattern.fullmatch(reason):
            parts = found.groupdict()
            return words(
                key, **{name: _SAID[name](words, part) if name in _SAID else part for name, part in parts.items()}
            )
    return reason
