"""Who is suspected, by what went silent together."""

import itertools

import pytest

from tillwatch_agent.culprit import Culprit, Finding, Line, Part, Seen, parts, seen_in, socket_of, suspect, told
from tillwatch_agent.drivers import Attachment
from tillwatch_agent.health import Observation
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import FACTS_MAX, Health
from tillwatch_protocol.vocabulary import ConditionCode as Code

USB, SERIAL, TCP = Attachment.USB, Attachment.SERIAL, Attachment.TCP


def part(name: str, attachment: Attachment, seen: Seen, socket: str | None = None) -> Part:
    return Part(component=name, attachment=attachment, seen=seen, socket=socket)


WELL = part("well", USB, Seen.ANSWERS, "1-1.4")


@pytest.mark.parametrize(
    ("parts", "first", "together_with"),
    [
        # one that is gone, its hub still there: cable or power, which cannot be told apart
        ((part("a", USB, Seen.GONE, "1-1.1"), WELL), (Culprit.CABLE, Culprit.POWER, Culprit.DEVICE), ()),
        # all on one hub
        (
            (part("a", USB, Seen.GONE, "1-1.1"), part("b", SERIAL, Seen.GONE, "1-1.2"), part("c", TCP, Seen.ANSWERS)),
            (Culprit.HUB, Culprit.CABLE, Culprit.POWER),
            ("b",),
        ),
        # on a hub behind a hub, of which the outer one has others that answer
        (
            (part("a", USB, Seen.GONE, "1-1.2.1"), part("b", USB, Seen.GONE, "1-1.2.3"), WELL),
            (Culprit.HUB, Culprit.CABLE, Culprit.POWER),
            ("b",),
        ),
        # two gone, each in a socket of the machine: no hub is between them
        (
            (part("a", USB, Seen.GONE, "1-1"), part("b", USB, Seen.GONE, "1-2")),
            (Culprit.CABLE, Culprit.POWER, Culprit.DEVICE),
            (),
        ),
        # nobody knows where it sat
        ((part("a", USB, Seen.GONE), part("b", USB, Seen.GONE)), (Culprit.CABLE, Culprit.POWER, Culprit.DEVICE), ()),
        # its own USB function is there: it has power
        ((part("a", USB, Seen.SILENT, "1-1.1"), WELL), (Culprit.DEVICE,), ()),
        # one serial line by itself
        (
            (part("a", SERIAL, Seen.SILENT), part("b", SERIAL, Seen.ANSWERS)),
            (Culprit.POWER, Culprit.CABLE, Culprit.SETTINGS, Culprit.DEVICE),
            (),
        ),
        # two serial lines at once; a third lost its adapter by itself
        (
            (part("a", SERIAL, Seen.SILENT), part("b", SERIAL, Seen.SILENT), part("c", SERIAL, Seen.GONE)),
            (Culprit.POWER,),
            ("b",),
        ),
        # all that hangs on the shop's network
        (
            (part("a", TCP, Seen.SILENT), part("b", TCP, Seen.SILENT), WELL),
            (Culprit.SHOP_NETWORK, Culprit.POWER),
            ("b",),
        ),
        # an address that is none
        ((part("a", TCP, Seen.GONE), WELL), (Culprit.SETTINGS,), ()),
        # lines of two kinds at once: the counter's power
        ((part("a", USB, Seen.GONE, "1-1.1"), part("b", SERIAL, Seen.SILENT)), (Culprit.POWER,), ("b",)),
        # what says itself who it is
        ((part("a", SERIAL, Seen.GARBLED), WELL), (Culprit.SETTINGS, Culprit.DEVICE), ()),
        ((part("a", SERIAL, Seen.BUSY), WELL), (Culprit.OTHER_PROGRAM,), ()),
        ((part("a", SERIAL, Seen.REFUSED), WELL), (Culprit.RIGHTS,), ()),
    ],
)
def test_who_is_suspected_is_told_by_what_went_silent_together(
    parts: tuple[Part, ...], first: tuple[Culprit, ...], together_with: tuple[str, ...]
) -> None:
    assert suspect(parts)[0] == Finding(component="a", culprits=first, together_with=together_with)


def test_no_part_that_answers_is_suspected_and_no_hub_on_which_one_does() -> None:
    places = ((USB, "1-1.1"), (SERIAL, "1-1.2"), (USB, "1-1.3"), (TCP, None))
    for seen in itertools.product(Seen, repeat=len(places)):
        parts = [part(f"p{at}", place[0], seen[at], place[1]) for at, place in enumerate(places)]
        findings = suspect(parts)
        assert [finding.component for finding in findings] == [p.component for p in parts if p.seen is not Seen.ANSWERS]
        if any(p.seen is Seen.ANSWERS and p.socket for p in parts):
            assert not any(Culprit.HUB in finding.culprits for finding in findings)


@pytest.mark.parametrize(
    ("reason", "seen"),
    [
        (Code.NOT_ATTACHED, Seen.GONE),
        (Code.NO_RESPONSE, Seen.SILENT),
        (Code.GARBLED_RESPONSE, Seen.GARBLED),
        (Code.PORT_BUSY, Seen.BUSY),
        (Code.PORT_REFUSED, Seen.REFUSED),
        ("sim_missing", Seen.ANSWERS),
        (None, Seen.ANSWERS),
    ],
)
def test_a_look_is_read_by_its_reason(reason: str | None, seen: Seen) -> None:
    assert seen_in(Observation(component="pos_printer:a", health=Health.UNKNOWN, reason=reason)) is seen


@pytest.mark.parametrize(
    ("port", "socket"),
    [
        ("/dev/serial/by-path/pci-0000:00:14.0-usb-0:1.2:1.0-port0", ("0000:00:14.0", "1.2")),
        ("/dev/serial/by-path/pci-0000:00:14.0-usbv2-0:3:1.0", ("0000:00:14.0", "3")),
        ("/dev/serial/by-path/platform-fe9c0000.xhci-usb-0:1.4:1.0", ("fe9c0000.xhci", "1.4")),
        ("/dev/serial/by-id/usb-EPSON_TM-T88V-if00", None),
        ("/dev/ttyS0", None),
    ],
)
def test_a_socket_is_read_from_a_link_by_path(port: str, socket: tuple[str, str] | None) -> None:
    assert socket_of(port) == socket


SCANNER, DISPLAY, PRINTER = (
    Line(component="scanner:1", attachment=USB),
    Line(component="display:1", attachment=USB, socket="1-1.2"),
    Line(component="pos_printer:1", attachment=SERIAL),
)


def reading(component: str, reason: str | None = None, **facts: str) -> Reading:
    return Reading(component=component, health=Health.ABSENT if reason else Health.OK, reason=reason, facts=facts)


def test_a_look_says_where_a_device_sits_better_than_its_configuration() -> None:
    looks = (reading("scanner:1", location="1-1.1"), reading("display:1", location="1-1.3"), reading("display:1"))
    assert [each.socket for each in parts((SCANNER, DISPLAY), looks[:2])] == ["1-1.1", "1-1.3"]
    assert [each.socket for each in parts((SCANNER, DISPLAY), looks[2:])] == ["1-1.2"]


def test_a_reading_says_who_is_suspected_of_its_silence_and_what_shares_it() -> None:
    gone = (
        reading("scanner:1", Code.NOT_ATTACHED, location="1-1.1"),
        reading("display:1", Code.UNKNOWN_DEVICE),
        reading("machine:self"),
    )
    scanner, display, machine = told((SCANNER, DISPLAY), gone)
    assert scanner.facts == {"location": "1-1.1", "suspected": "hub, cable, power", "together_with": "display:1"}
    assert display.facts == {"suspected": "hub, cable, power", "together_with": "scanner:1"}
    assert machine is gone[2]


def test_while_something_on_the_hub_answers_the_hub_is_not_suspected() -> None:
    scanner, _ = told(
        (SCANNER, DISPLAY), (reading("scanner:1", Code.NOT_ATTACHED, location="1-1.1"), reading("display:1"))
    )
    assert scanner.facts["suspected"] == "cable, power, device"
    assert "together_with" not in scanner.facts


def test_what_is_told_fits_the_wire() -> None:
    counter = tuple(Line(component=f"scale:{no}", attachment=SERIAL) for no in range(60))
    (first, *_) = told(counter, tuple(reading(line.component, Code.NO_RESPONSE) for line in counter))
    assert first.facts["together_with"].count(",") == 7
    full = reading("pos_printer:1", Code.NO_RESPONSE, **{f"fact_{no}": "x" for no in range(FACTS_MAX)})
    assert told((PRINTER,), (full,)) == (full,)
