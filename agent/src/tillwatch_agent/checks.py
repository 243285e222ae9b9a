"""What the doctor tells, and how the way out and what went silent together are told there. Pure.

A check is `ok`, a `warning` (it works; look at it), a `problem`, or `untested` with its reason, which is neither: what
could not be looked at is never called well. The way out is told step by step, each with its time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tillwatch_agent.culprit import Culprit, Finding, Part, suspect
from tillwatch_agent.diagnosis import Confidence, Outcome, Step, Untested, judge
from tillwatch_agent.evidence import Domain, Evidence, Registration
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNTESTED = "untested"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the table."""

    name: str
    verdict: Verdict
    found: str
    advice: str | None = None
    took_ms: float | None = None


STEP_NAMES: Final = {
    Domain.REGISTRATION: "network.modem",
    Domain.LINK: "network.link",
    Domain.ADDRESS: "network.address",
    Domain.ROUTE: "network.route",
    Domain.GATEWAY: "network.gateway",
    Domain.NAMES: "network.names",
    Domain.WAN: "network.wan",
    Domain.PORTAL: "network.portal",
}

WHY_UNTESTED: Final = {
    Untested.BEHIND_FAILURE: "not tested: what lies before it fails",
    Untested.NOT_CONFIGURED: "not tested: nothing is configured to ask",
    Untested.NO_ICMP_RIGHT: "not proved: silent to TCP, and this user may not send ICMP (ping_group_range)",
    Untested.NO_ANSWER: "not proved: no answer came, which others may have left out on purpose",
}

HOW_SURE: Final = {
    Confidence.PROVED: "proved",
    Confidence.LIKELY: "likely: several independent targets are silent",
    Confidence.POSSIBLE: "possible: silence that something else could explain, too",
}

SUSPECTED: Final = {
    Culprit.DEVICE: "the device itself",
    Culprit.CABLE: "its cable",
    Culprit.HUB: "the USB hub between",
    Culprit.POWER: "its power",
    Culprit.SHOP_NETWORK: "the shop's network between",
    Culprit.SETTINGS: "its settings in the configuration",
    Culprit.OTHER_PROGRAM: "another program that has the port",
    Culprit.RIGHTS: "the rights of this user",
}

_PHASES: Final = ("dns_ms", "tcp_ms", "tls_ms", "reply_ms")
"""Of an acquirer, in their order."""

_REGISTRATIONS: Final = {
    ConditionCode.SIM_ABSENT: Registration.NO_SIM,
    ConditionCode.SIM_LOCKED: Registration.SIM_LOCKED,
    ConditionCode.SIM_FAILURE: Registration.NO_SIM,
    ConditionCode.REGISTRATION_DENIED: Registration.DENIED,
    ConditionCode.NOT_REGISTERED: Registration.SEARCHING,
}


def way_out(evidence: Evidence) -> tuple[Check, ...]:
    """Tell each step of the way out, with its time; the failing one with how sure that is."""
    verdict = judge(evidence)
    return tuple(_step(step, verdict.confidence) for step in verdict.steps)


def with_modem(evidence: Evidence, looks: Iterable[Observation], modem: str | None) -> Evidence:
    """Put what a modem said of its carrier's network into the evidence, where it may be the way out.

    A modem that is well is told as well; one of which nothing is known says nothing of the way out.
    """
    look = next((look for look in looks if look.component == modem), None)
    if look is None or (evidence.has_link and not evidence.facts.get("interface", "").startswith(("ww", "ppp"))):
        return evidence
    said = next((code for code in look.true_codes if code in _REGISTRATIONS), None)
    if said is None:
        return replace(evidence, registration=Registration.REGISTERED if look.health is Health.OK else None)
    details = {**evidence.details, Domain.REGISTRATION: f"{modem}: {said}"}
    return replace(evidence, registration=_REGISTRATIONS[said], details=details)


def phases(measures: Mapping[str, float | int]) -> str:
    """Tell the time of each phase that an acquirer was asked in."""
    return ", ".join(f"{name.removesuffix('_ms')} {measures[name]:g} ms" for name in _PHASES if name in measures)


def blamed(checks: Iterable[Check], parts: Iterable[Part]) -> tuple[Check, ...]:
    """Add to each device that does not answer who is suspected, by what went silent together."""
    findings = {finding.component: finding for finding in suspect(parts)}
    return tuple(_blamed(check, findings.get(check.name)) for check in checks)


def _step(step: Step, confidence: Confidence) -> Check:
    name = STEP_NAMES[step.domain]
    if step.outcome is Outcome.PASSED:
        return Check(name=name, verdict=Verdict.OK, found=step.found or "ok", took_ms=step.took_ms)
    if step.why is not None:
        return Check(name=name, verdict=Verdict.UNTESTED, found=WHY_UNTESTED[step.why])
    return Check(name=name, verdict=Verdict.PROBLEM, found="; ".join(filter(None, (step.found, HOW_SURE[confidence]))))


def _blamed(check: Check, finding: Finding | None) -> Check:
    if finding is None or check.verdict is Verdict.UNTESTED:  # of what was not looked at nobody is suspected
        return check
    suspected = f"suspected: {' or '.join(SUSPECTED[culprit] for culprit in finding.culprits)}"
    if finding.together_with:
        suspected += f" (together with {', '.join(finding.together_with)})"
    return replace(check, advice="; ".join(filter(None, (check.advice, suspected))))
