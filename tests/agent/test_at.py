"""The modem driver against the answers of the manuals and of ModemManager's tests, and against the simulated modem."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.talks import Talk, talk

from tillwatch_agent.drivers import Device, SettingsInvalid, at
from tillwatch_agent.drivers.at import ALLOWED, NOT_TOLD, Answer, Question, Registration
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health, PowerState
from tillwatch_simulator.devices.modem import Fault, Modem

DRIVER = at.driver(Device(kind="modem", name="0"))
REGISTRATION = {Code.NOT_REGISTERED, Code.REGISTRATION_DENIED}


def answer(*lines: str, ok: bool = True, error: str | None = None) -> Answer:
    return Answer(lines=lines, is_ok=ok, error=error)


def with_faults(*faults: str, memory: at.Memory | None = None) -> Talk:
    modem = Modem()
    for fault in faults:
        modem.set(fault)
    return talk(DRIVER, modem.receive, memory)


def test_nothing_that_sets_dials_or_sends_can_be_written() -> None:
    assert all(line.startswith(b"AT") and line.endswith(b"\r") for line in ALLOWED)
    assert not any(
        mark in line for line in ALLOWED for mark in (b"=", b"D", b"&", b"E0", b"E1", b"Z", b"+CGSN", b"CIMI")
    )


@pytest.mark.parametrize(
    ("received", "lines"),
    [
        (b"AT+CSQ\r\r\n+CSQ: 20,99\r\n\r\nOK\r\n", ("+CSQ: 20,99",)),  # with echo
        (b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n", ("+CSQ: 20,99",)),  # without
        (b"\r\nRDY\r\nAT+CSQ\r\r\n+CSQ: 20,99\r\n\r\nOK\r\n", ("+CSQ: 20,99",)),  # what came before the echo is not its
        (b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n\r\n+CIEV: 1\r\n", ("+CSQ: 20,99",)),  # a report after the end
        (b"\r\nNO CARRIER\r\n\r\n+CSQ: 20,99\r\n\r\nOK\r\n", ("NO CARRIER", "+CSQ: 20,99")),  # a call that ended
    ],
)
def test_an_answer_stands_between_its_question_and_a_final_code(received: bytes, lines: tuple[str, ...]) -> None:
    assert at.read_answer(received, Question.SIGNAL) == Answer(lines=lines, is_ok=True)
    assert at.read_answer(received[: received.index(b"OK")], Question.SIGNAL) is None


@pytest.mark.parametrize(
    ("received", "error"),
    [
        (b"\r\nERROR\r\n", None),
        (b"\r\n+CME ERROR: 10\r\n", "10"),
        (b"\r\n+CME ERROR:SIM not inserted\r\n", "SIM not inserted"),
        (b"\r\n+CMS ERROR: 500\r\n", "500"),
        (b"\r\nMODEM ERROR: 7\r\n", None),
        (b"\r\nCOMMAND NOT SUPPORT\r\n", None),
    ],
)
def test_an_error_ends_an_answer(received: bytes, error: str | None) -> None:
    assert at.read_answer(received, Question.SIM) == Answer(lines=(), is_ok=False, error=error)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (answer("+CPIN: READY"), None),
        (answer('+CPIN: "READY"'), None),
        (answer("+CPIN:READY"), None),
        (answer("+CPIN: SIM PIN"), Code.SIM_LOCKED),
        (answer("+CPIN: SIM PUK"), Code.SIM_LOCKED),
        (answer("+CPIN: PH-NET PIN"), Code.SIM_LOCKED),
        (answer(ok=False, error="10"), Code.SIM_ABSENT),
        (answer(ok=False, error="SIM not inserted"), Code.SIM_ABSENT),
        (answer(ok=False, error="10|SIM not inserted"), Code.SIM_ABSENT),
        (answer(ok=False, error="11"), Code.SIM_LOCKED),
        (answer(ok=False, error="12"), Code.SIM_LOCKED),
        (answer(ok=False, error="13"), Code.SIM_FAILURE),
        (answer(ok=False, error="15"), Code.SIM_FAILURE),
        (answer(ok=False, error="100"), Code.SIM_FAILURE),
        (answer(ok=False, error="never heard of"), Code.SIM_FAILURE),
        (answer(ok=False), Code.SIM_FAILURE),
    ],
)
def test_the_sim_is_read(said: Answer, code: str | None) -> None:
    assert at.is_sim_known(said)
    assert at.read_sim(said) == code


def test_a_busy_sim_and_an_answer_without_one_are_not_judged() -> None:
    assert not at.is_sim_known(answer(ok=False, error="14"))
    assert at.read_sim(answer(ok=False, error="SIM busy")) is None
    assert not at.is_sim_known(answer())


@pytest.mark.parametrize(
    ("lines", "registration"),
    [
        (["+CEREG: 1,3"], Registration(state=3)),
        (["+CEREG: 1,1,84CD,00D30173"], Registration(state=1)),
        (['+CEREG: 2,1,"84CD","00D30173",7'], Registration(state=1, technology="LTE")),
        (["+CEREG: 2,1, 1F00, 79D903 ,7"], Registration(state=1, technology="LTE")),  # spaces
        (["+CEREG: 2,5,84CD,00D30173,9"], Registration(state=5, technology="NB-IoT")),
        (["+CEREG: 2", "+CEREG: 1,1"], Registration(state=1)),  # a report before the answer
        (["+CEREG: 1,1", "+CEREG: 2"], Registration(state=1)),  # and after
        (['+CEREG: 5,"84CD","00D30173",7', "+CEREG: 2,1"], Registration(state=1)),
        (["+CEREG: 5,84CD,00D30173,7", "+CEREG: 2,1"], Registration(state=1)),  # unquoted
        (["+CEREG: 3"], Registration(state=3)),  # an old one that tells no n
        (["+CEREG: ?"], None),
        (["+CREG: 1,1"], None),  # another's prefix
        ([], None),
    ],
)
def test_a_registration_is_the_line_of_an_answers_shape(lines: list[str], registration: Registration | None) -> None:
    assert at.read_registration(answer(*lines), "+CEREG:") == registration


@pytest.mark.parametrize(
    ("line", "operator", "technology"),
    [
        ('+COPS: 0,0,"Tillmobile",7', "Tillmobile", "LTE"),
        ('+COPS: 0,2,"26201"', "26201", None),
        ("+COPS: 0", None, None),
        ('+COPS: 0,0,"",0', None, "GSM"),
        ("+COPS: 0,0,T,99", "T", None),  # a technology of tomorrow
    ],
)
def test_the_operator_is_read(line: str, operator: str | None, technology: str | None) -> None:
    assert at.read_operator(answer(line)) == (operator, technology)


@pytest.mark.parametrize(
    ("line", "measures"),
    [
        ("+CSQ: 0,99", {"rssi_dbm": -113, "signal_pct": 0}),
        ("+CSQ: 1,99", {"rssi_dbm": -111, "signal_pct": 3}),
        ("+CSQ: 20,0", {"rssi_dbm": -73, "signal_pct": 65}),
        ("+CSQ: 31,99", {"rssi_dbm": -51, "signal_pct": 100}),
        ("+CSQ: 99,99", {}),
        ("+CSQ: 100,99", {"rscp_dbm": -116}),  # TD-SCDMA
        ("+CSQ: 191,99", {"rscp_dbm": -25}),
        ("+CSQ: 199,99", {}),
        ("+CSQ: 20", {}),
        ("+CSQ: x,y", {}),
        ("", {}),
    ],
)
def test_a_signal_is_read(line: str, measures: dict[str, float]) -> None:
    assert at.read_signal(answer(line)) == measures


@pytest.mark.parametrize(
    ("line", "measures"),
    [
        # ModemManager's own
        ("+CESQ: 99,99,255,255,20,80", {"rsrq_db": -10.0, "rsrp_dbm": -61}),
        ("+CESQ: 99,99,95,40,255,255", {"rscp_dbm": -26, "ecio_db": -4.5}),
        ("+CESQ: 10,6,255,255,255,255", {"rssi_dbm": -101}),
        ("+CESQ:10,6,255,255,255,255", {"rssi_dbm": -101}),
        # the ends of each scale
        (
            "+CESQ: 0,99,0,0,0,0",
            {"rssi_dbm": -111, "rscp_dbm": -121, "ecio_db": -24.5, "rsrq_db": -20, "rsrp_dbm": -141},
        ),
        ("+CESQ: 63,7,96,49,34,97", {"rssi_dbm": -48, "rscp_dbm": -25, "ecio_db": 0, "rsrq_db": -3, "rsrp_dbm": -44}),
        ("+CESQ: 99,99,255,255,255", {}),
        ("+CESQ: a,b,c,d,e,f", {}),
    ],
)
def test_an_extended_signal_is_read(line: str, measures: dict[str, float]) -> None:
    assert at.read_signal_extended(answer(line)) == measures


def test_a_healthy_modem_says_all_that_it_has() -> None:
    told = with_faults()
    assert (told.seen.health, told.seen.power_state, told.seen.undetermined) == (
        Health.OK,
        PowerState.ONLINE,
        frozenset(),
    )
    assert told.seen.measures == {"signal_pct": 65, "rsrq_db": -10.0, "rsrp_dbm": -91}
    assert told.seen.facts == {
        "maker": "Tillwatch",
        "model": "TWM-25",
        "firmware": "TWM25EFAR06A03M4G",
        "operator": "Tillmobile",
        "technology": "LTE",
        "registration": "home",
    }
    again = with_faults(memory=told.looked.memory)
    assert Question.MODEL.value not in again.requests
    assert again.seen.facts == told.seen.facts


@pytest.mark.parametrize(
    ("fault", "true", "undetermined"),
    [
        (Fault.SIM_ABSENT, {Code.SIM_ABSENT}, {*REGISTRATION, Code.SIGNAL_WEAK}),
        (Fault.SIM_LOCKED, {Code.SIM_LOCKED}, {*REGISTRATION, Code.SIGNAL_WEAK}),
        (Fault.SIM_FAILURE, {Code.SIM_FAILURE}, {*REGISTRATION, Code.SIGNAL_WEAK}),
        (Fault.SEARCHING, {Code.NOT_REGISTERED}, set()),
        (Fault.SMS_ONLY, {Code.NOT_REGISTERED}, set()),
        (Fault.DENIED, {Code.REGISTRATION_DENIED}, {Code.NOT_REGISTERED}),
        (Fault.ROAMING, set(), set()),
        (Fault.WEAK, {Code.SIGNAL_WEAK}, set()),
        (Fault.NO_SIGNAL_KNOWN, set(), {Code.SIGNAL_WEAK}),
        (Fault.NO_EXTENDED_SIGNAL, set(), set()),
        (Fault.ECHO_OFF, set(), set()),
        (Fault.CHATTY, set(), set()),
    ],
)
def test_each_fault_of_the_simulated_modem_is_told(fault: Fault, true: set[str], undetermined: set[str]) -> None:
    seen = with_faults(fault).seen
    assert set(seen.true_codes) == true
    assert seen.undetermined == undetermined
    assert seen.health is (Health.FAULT if true - {Code.SIGNAL_WEAK} else Health.OK)


def test_a_busy_sim_is_unknown_and_judges_nothing() -> None:
    seen = with_faults(Fault.SIM_BUSY).seen
    assert (seen.health, seen.reason, seen.true_codes, seen.undetermined) == (Health.UNKNOWN, NOT_TOLD, {}, at.CODES)


def test_bare_errors_say_that_they_say_no_more() -> None:
    seen = with_faults(Fault.SIM_ABSENT, Fault.BARE_ERRORS).seen
    assert seen.true_codes == {Code.SIM_FAILURE: "the modem says no more than ERROR"}


def test_a_weak_signal_must_grow_well_above_its_threshold_to_be_well() -> None:
    def at_rsrp(number: int) -> bytes:
        return f"\r\n+CESQ: 99,99,255,255,20,{number}\r\nOK\r\n".encode()

    modem, memory, said = Modem(), None, []
    for rsrp_dbm in (-117, -118, -114, -113, -112, -117):
        given_level = at_rsrp(rsrp_dbm + 141)
        told = talk(
            DRIVER,
            lambda request, level=given_level: level if b"CESQ" in request else modem.receive(request),  # type: ignore[misc]  # bound in its turn
            memory,
        )
        memory = told.looked.memory
        said.append(Code.SIGNAL_WEAK in told.seen.true_codes)
    assert said == [False, True, True, True, False, False]


def test_an_older_modem_is_judged_by_its_circuit_registration() -> None:
    modem = Modem()

    def older(request: bytes) -> bytes:
        return b"\r\nERROR\r\n" if b"EREG" in request or b"GREG" in request else modem.receive(request)

    modem.set("searching")
    assert set(talk(DRIVER, older).seen.true_codes) == {Code.NOT_REGISTERED}


def test_a_modem_that_tells_nothing_of_itself_is_unknown() -> None:
    seen = talk(DRIVER, lambda _: b"\r\nOK\r\n").seen
    assert (seen.health, seen.reason) == (Health.UNKNOWN, NOT_TOLD)


def test_a_question_without_an_answer_ends_the_look() -> None:
    modem = Modem()
    told = talk(DRIVER, lambda request: b"" if b"CEREG" in request else modem.receive(request))
    assert told.requests[-1] == Question.EPS_REGISTRATION.value
    assert told.seen.health is Health.UNKNOWN


def test_a_silent_modem_is_asked_twice() -> None:
    told = with_faults(Fault.SILENT)
    assert (told.seen.reason, told.requests) == (Code.NO_RESPONSE, [Question.ATTENTION.value] * 2)
    assert told.owed == [False, True]


def test_noise_and_an_echoing_line_are_garbled() -> None:
    assert with_faults(Fault.GARBLED).seen.reason == Code.GARBLED_RESPONSE
    echoed = talk(DRIVER, lambda request: request).seen
    assert echoed.true_codes == {Code.GARBLED_RESPONSE: "the line echoes what is sent, and says no more"}


@given(st.binary(max_size=200))
def test_whatever_comes_the_talk_ends(received: bytes) -> None:
    assert talk(DRIVER, lambda _: received, bytewise=False).seen.health is Health.UNKNOWN


def test_it_has_no_settings() -> None:
    with pytest.raises(SettingsInvalid, match="pin: unknown key; expected none"):
        at.driver(Device(kind="modem", name="0", settings={"pin": "1234"}))
