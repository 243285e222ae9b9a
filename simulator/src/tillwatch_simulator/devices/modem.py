"""A cellular modem at its port for AT commands, as TS 27.007 and its makers' manuals have it.

A command line is `AT...` up to a carriage return; it is echoed while echo is on (`ATE1`, as after power-on), and
answered by lines between CR LF and a final code. Reports that nobody asked for come between; some look like answers.

Sources: 3GPP TS 27.007, 7.2 (+CREG), 7.3 (+COPS), 8.5 (+CSQ), 8.69 (+CESQ), 9.2 (+CME ERROR); Quectel EC25 AT commands
(reports, and +CME ERROR by number after AT+CMEE=1).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar, Final

from tillwatch_simulator.devices.faulty import Faulty

LINE_BYTES_MAX = 512
"""A longer command line is none (TS 27.007 leaves it to the maker)."""


class Fault(StrEnum):
    """What can befall this modem."""

    SIM_ABSENT = "sim_absent"
    SIM_LOCKED = "sim_locked"
    SIM_FAILURE = "sim_failure"
    SIM_BUSY = "sim_busy"
    SEARCHING = "searching"
    """It looks for a network, in vain."""
    DENIED = "denied"
    """The network refuses the subscription."""
    SMS_ONLY = "sms_only"
    ROAMING = "roaming"
    WEAK = "weak"
    NO_SIGNAL_KNOWN = "no_signal_known"
    NO_EXTENDED_SIGNAL = "no_extended_signal"
    """An older one: it does not know +CESQ."""
    BARE_ERRORS = "bare_errors"
    """Its errors say no more than ERROR."""
    ECHO_OFF = "echo_off"
    CHATTY = "chatty"
    """Reports that nobody asked for stand before and after each answer, some with its prefix."""
    SILENT = "silent"
    GARBLED = "garbled"
    SLOW = "slow"
    UNPLUGGED = "unplugged"


_SIM_ERRORS: Final = {
    Fault.SIM_ABSENT: 10,
    Fault.SIM_FAILURE: 13,
    Fault.SIM_BUSY: 14,
}
_UNREGISTERED: Final = frozenset({Fault.SEARCHING, Fault.DENIED, Fault.SMS_ONLY, Fault.SIM_LOCKED, *_SIM_ERRORS})
_CHATTER_BEFORE: Final = '\r\n+CREG: 2\r\n\r\n+CMTI: "ME",3\r\n'
_CHATTER_AFTER: Final = '\r\n+QGPSURC: "xtra"\r\n\r\nRING\r\n'
_OK, _ERROR = "\r\nOK\r\n", "\r\nERROR\r\n"
_GARBLE = 0x80


class Modem(Faulty[Fault]):
    """A modem with its faults; `receive`, `set` and `clear` return what it sends."""

    def __init__(self, *, slow_answer_s: float = 5.0) -> None:
        super().__init__(Fault, slow_answer_s=slow_answer_s)
        self._line = b""

    def receive(self, data: bytes) -> bytes:
        """Take bytes in pieces of any size."""
        sent = b"".join(self._byte(bytes([byte])) for byte in data)
        if self._faults & {Fault.SILENT, Fault.UNPLUGGED}:
            return b""
        return bytes(byte ^ _GARBLE for byte in sent) if Fault.GARBLED in self._faults else sent

    def describe(self) -> str:
        """Say the faults, and how it is registered."""
        return f"faults: {' '.join(sorted(self.faults)) or 'none'}; registration {self._state()}"

    def _byte(self, byte: bytes) -> bytes:
        self._line = (self._line + byte)[-LINE_BYTES_MAX:]
        echo = b"" if Fault.ECHO_OFF in self._faults else byte
        if byte != b"\r":
            return echo
        line, self._line = self._line.strip().decode("ascii", errors="replace").upper(), b""
        return echo + self._answer(line).encode("ascii") if line.startswith("AT") else echo

    def _answer(self, line: str) -> str:
        answer = self._commands[line](self) if line in self._commands else _ERROR
        return _CHATTER_BEFORE + answer + _CHATTER_AFTER if Fault.CHATTY in self._faults else answer

    def _error(self, number: int) -> str:
        return _ERROR if Fault.BARE_ERRORS in self._faults else f"\r\n+CME ERROR: {number}\r\n"

    def _sim(self) -> str:
        number = next((number for fault, number in _SIM_ERRORS.items() if fault in self._faults), None)
        if number is not None:
            return self._error(number)
        said = "SIM PIN" if Fault.SIM_LOCKED in self._faults else "READY"
        return f"\r\n+CPIN: {said}\r\n{_OK}"

    def _state(self) -> int:
        """TS 27.007, 7.2: 1 home, 2 searching, 3 denied, 5 roaming, 6 SMS only; 0 without a SIM."""
        states = {Fault.SEARCHING: 2, Fault.DENIED: 3, Fault.SMS_ONLY: 6}
        if self._faults & {*_SIM_ERRORS, Fault.SIM_LOCKED}:
            return 0
        return next(
            (state for fault, state in states.items() if fault in self._faults),
            5 if Fault.ROAMING in self._faults else 1,
        )

    def _registration(self, prefix: str) -> str:
        where = ',"1F00","079D903",7' if self._state() in {1, 5} else ""
        return f"\r\n{prefix}: 2,{self._state()}{where}\r\n{_OK}"

    def _operator(self) -> str:
        where = "" if self._faults & _UNREGISTERED else ',0,"Tillmobile",7'
        return f"\r\n+COPS: 0{where}\r\n{_OK}"

    def _signal(self) -> str:
        rssi = 99 if Fault.NO_SIGNAL_KNOWN in self._faults else 2 if Fault.WEAK in self._faults else 20
        return f"\r\n+CSQ: {rssi},99\r\n{_OK}"

    def _signal_extended(self) -> str:
        if Fault.NO_EXTENDED_SIGNAL in self._faults:
            return _ERROR
        known = "5,20" if Fault.WEAK in self._faults else "20,50"
        rsrq, rsrp = ("255", "255") if Fault.NO_SIGNAL_KNOWN in self._faults else known.split(",")
        return f"\r\n+CESQ: 99,99,255,255,{rsrq},{rsrp}\r\n{_OK}"

    _commands: ClassVar[dict[str, Callable[["Modem"], str]]] = {
        "AT": lambda _: _OK,
        "AT+CPIN?": _sim,
        "AT+CREG?": lambda modem: modem._registration("+CREG"),  # noqa: SLF001 - its own table
        "AT+CGREG?": lambda modem: modem._registration("+CGREG"),  # noqa: SLF001 - as above
        "AT+CEREG?": lambda modem: modem._registration("+CEREG"),  # noqa: SLF001 - as above
        "AT+COPS?": _operator,
        "AT+CSQ": _signal,
        "AT+CESQ": _signal_extended,
        "AT+CGMI": lambda _: f"\r\nTillwatch\r\n{_OK}",
        "AT+CGMM": lambda _: f"\r\nTWM-25\r\n{_OK}",
        "AT+CGMR": lambda _: f"\r\nTWM25EFAR06A03M4G\r\n{_OK}",
    }
