"""The real parts that tests and benches use beside our own: where they are, and what is said when they are not.

`mosquitto()` and `postgresql_bin()` raise `PartMissing`, whose message says how to install the part. A bench shows it
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


def _version(initdb: Path) -> int:
    number = re.match(r"\d+", initdb.parents[1].name)
    return int(number.group()) if number else 0
