"""The real parts that tests and benches use beside our own: where they are, and what is said when they are not.

Each function returns where one is, or raises `PartMissing`, whose message says how to install it. A bench shows it
and ends; a test that raises it, itself or in a fixture, is skipped with it (`tests/conftest.py`). Where
`TESTS_PARTS=required` is set, as in CI, it fails instead, and so does every test that is skipped for any reason.

A change violates this when a run that was to have everything is green without one of its tests.
"""

import os
import re
import shutil
from pathlib import Path

from tests.bench.figures import PartMissing

REQUIRED = os.environ.get("TESTS_PARTS") == "required"

_SERVER_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))
"""Servers are installed where an ordinary user's PATH does not look."""


def mosquitto() -> Path:
    """Return the broker's program; raises `PartMissing`."""
    found = shutil.which("mosquitto", path=_SERVER_PATH)
    if found is None:
        raise PartMissing("this needs Mosquitto 2, which is not on this machine; try: apt install mosquitto")
    return Path(found)


def postgresql_bin() -> Path:
    """Return the folder of PostgreSQL's programs, the newest version's; raises `PartMissing`."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    found = str(packaged[-1]) if packaged else shutil.which("initdb")
    if found is None:
        raise PartMissing("this needs PostgreSQL's server, which is not on this machine; try: apt install postgresql")
    return Path(found).parent


def chromium() -> Path:
    """Return the browser's program; raises `PartMissing`."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise PartMissing("this needs Chromium, which is not on this machine; try: apt install chromium")
    return Path(found)


def umockdev() -> str:
    """Return the library that a program is started with to see a made-up /sys and /dev; raises `PartMissing`."""
    if shutil.which("umockdev-wrapper") is None:
        raise PartMissing("this needs umockdev, which is not on this machine; try: apt install umockdev")
    return "libumockdev-preload.so.0"


def tshark() -> Path:
    """Return Wireshark's program without windows; raises `PartMissing`."""
    found = shutil.which("tshark")
    if found is None:
        raise PartMissing("this needs tshark, which is not on this machine; try: apt install tshark")
    return Path(found)


def node_exporter() -> Path:
    """Return Prometheus's agent for machines, an agent to compare ours with; raises `PartMissing`."""
    found = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if found is None:
        raise PartMissing(
            "this needs Prometheus node_exporter, which is not on this machine; try: apt install "
            "prometheus-node-exporter"
        )
    return Path(found)


def zabbix_agent2() -> Path:
    """Return Zabbix's agent, an agent to compare ours with; raises `PartMissing`."""
    found = shutil.which("zabbix_agent2", path=_SERVER_PATH)
    if found is None:
        raise PartMissing("this needs zabbix_agent2, which is not on this machine; try: apt install zabbix-agent2")
    return Path(found)


def _version(initdb: Path) -> int:
    number = re.match(r"\d+", initdb.parents[1].name)
    return int(number.group()) if number else 0
