"""Our ZVT frames as Wireshark's dissector reads them: what our driver asks, and what the simulated terminal answers.

The captures are written by hand (libpcap's file format): over TCP the APDUs stand alone behind Ethernet, IPv4 and TCP;
of a serial line each packet is one frame or one acknowledgement, as user link type 147. Somebody else's reading of the
same bytes is what our own tests, driver against simulator, cannot give.
"""

import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests import parts
from tests.agent.talks import talk

from tillwatch_agent.drivers import Attachment, Device, zvt
from tillwatch_simulator.devices.zvt import Fault, Terminal

PASSWORD = "123456"
TILL, TERMINAL = ("192.0.2.1", 50_000), ("192.0.2.2", 20_007)
ETHERNET, USER_0 = 1, 147
"""Link types of a pcap file."""
SERIAL_LINE = 'uat:user_dlts:"User 0 (DLT=147)","zvt","0","","0",""'
FIELDS = ("serial_char", "control_field", "ccrc", "aprc", "length_field", "int_status", "crc")

Said = list[tuple[bool, bytes]]
"""What each side sent at once; true where it was the till."""


def said(attachment: Attachment, fault: Fault | None) -> Said:
    """Let the driver talk to the simulated terminal."""
    terminal = Terminal(over_tcp=attachment is Attachment.TCP, password=PASSWORD)
    if fault:
        terminal.set(fault)
    heard: Said = []

    def answer(request: bytes) -> bytes:
        answered = terminal.receive(request)
        heard.extend([(True, request), (False, answered)])
        return answered

    driver = zvt.driver(Device(kind="pin_pad", name="1", settings={"password": PASSWORD}))
    talk(driver, answer, attachment=attachment, bytewise=False)
    return [(by_till, data) for by_till, data in heard if data]


def frames(data: bytes) -> Iterator[bytes]:
    """Cut what came over a line into acknowledgements and frames."""
    while data:
        end = 1
        if data[0] == 0x10:
            end = 2
            while data[end : end + 2] != b"\x10\x03":
                end += 2 if data[end] == 0x10 else 1
            end += 4
        yield data[:end]
        data = data[end:]


def captured(path: Path, link_type: int, packets: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, link_type))
        for second, packet in enumerate(packets):
            file.write(struct.pack("<IIII", second, 0, len(packet), len(packet)) + packet)
    return path


def segments(talked: Said) -> Iterator[bytes]:
    """Put each piece into a TCP segment, an IPv4 packet and an Ethernet frame."""
    sent = {True: 1000, False: 2000}
    for by_till, data in talked:
        (source, source_port), (target, target_port) = (TILL, TERMINAL) if by_till else (TERMINAL, TILL)
        ports_and_numbers = struct.pack(">HHII", source_port, target_port, sent[by_till], sent[not by_till])
        tcp = ports_and_numbers + struct.pack(">BBHHH", 5 << 4, 0x18, 8192, 0, 0) + data
        addresses = b"".join(bytes(map(int, address.split("."))) for address in (source, target))
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + addresses + tcp
        yield bytes(12) + b"\x08\x00" + ip
        sent[by_till] += len(data)


def dissected(capture: Path, *options: str) -> list[str]:
    """Have tshark read a capture; of each packet the fields that it has, in short."""
    words = [str(parts.tshark()), "-n", "-r", str(capture), *options, "-T", "fields", "-E", "separator=;"]
    names = [f"zvt.{field}" for field in FIELDS]
    fields = [word for name in (*names, "_ws.malformed") for word in ("-e", name)]
    done = subprocess.run([*words, *fields], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [" ".join(filter(None, line.split(";"))) for line in done.stdout.splitlines()]


ENQUIRY, TAKEN, WAITS, COMPLETED = "0x0501 3", "0x80 0x00 0", "0x04ff 1 0x0e", "0x060f 11"
"""Control field (or CCRC and APRC, of a positive answer), length, intermediate status."""
ABORTED, REFUSED = "0x061e 1", "0x84 0x83 0"


@pytest.mark.parametrize(
    ("fault", "read"),
    [
        (None, [ENQUIRY, TAKEN, COMPLETED, TAKEN]),
        (Fault.INTERMEDIATE, [ENQUIRY, TAKEN, *[WAITS, TAKEN] * 3, COMPLETED, TAKEN]),
        (Fault.ABORTS, [ENQUIRY, TAKEN, ABORTED, TAKEN]),
        (Fault.REFUSES, [ENQUIRY, REFUSED, TAKEN]),
        # the frame whose bit was turned, and once more as it was meant
        (Fault.NOISE_ONCE, [ENQUIRY, "0x80 0x01 0", TAKEN, COMPLETED, TAKEN]),
    ],
)
def test_every_frame_of_a_serial_line_is_read(tmp_path: Path, fault: Fault | None, read: list[str]) -> None:
    packets = [frame for _, data in said(Attachment.SERIAL, fault) for frame in frames(data)]
    lines = dissected(captured(tmp_path / "line.pcap", USER_0, packets), "-o", SERIAL_LINE)
    told = [(line, packet) for line, packet in zip(lines, packets, strict=True) if len(packet) > 1]
    assert [line for line, _ in told] == [
        f"0x10,0x02,0x10,0x03 {apdu} 0x{int.from_bytes(packet[-2:], 'little'):04x}"
        for apdu, (_, packet) in zip(read, told, strict=True)
    ]
    noise = ["0x15"] if fault is Fault.NOISE_ONCE else []
    acknowledged = [line for line, packet in zip(lines, packets, strict=True) if len(packet) == 1]
    assert acknowledged == ["0x06", *noise, *["0x06"] * (len(read) - 1 - len(noise))]


@pytest.mark.parametrize(
    ("fault", "read"),
    [
        (None, [TAKEN, COMPLETED, TAKEN]),
        (Fault.INTERMEDIATE, [TAKEN, *[WAITS, TAKEN] * 3, COMPLETED, TAKEN]),
        (Fault.ABORTS, [TAKEN, ABORTED, TAKEN]),
        (Fault.REFUSES, [REFUSED, TAKEN]),
    ],
)
def test_every_message_over_tcp_is_read(tmp_path: Path, fault: Fault | None, read: list[str]) -> None:
    """The dissector's table has no status enquiry, and over TCP it reads only what stands there."""
    apdus = [(by_till, apdu) for by_till, data in said(Attachment.TCP, fault) for apdu in messages(data)]
    capture = captured(tmp_path / "tcp.pcap", ETHERNET, segments(apdus))
    assert dissected(capture, "-d", "tcp.port==20007,zvt") == ["", *read]


def messages(data: bytes) -> Iterator[bytes]:
    """Cut what came over TCP into messages; none of ours is long."""
    while data:
        yield data[: 3 + data[2]]
        data = data[3 + data[2] :]
