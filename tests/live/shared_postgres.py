"""One PostgreSQL for all workers of a test run; it ends after the last of them, however that one ended.

Each worker holds a lock on a file that it shares with the others. The first of them starts a keeper, a process of its
own, which starts the server and then waits until it can have the lock alone: the kernel takes a lock away from whoever
dies.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests import parts
from tests.live.postgres import Postgres, Server
from tests.live.stack import until

from tillwatch_collector.store import session

ROOT = Path(__file__).parents[2]

MIGRATED = "migrated"
"""The database to copy, with the schema of this version."""


@contextmanager
def shared(folder: Path) -> Iterator[Server]:
    """Use the server of a run, whose workers name the same folder; raises `PartMissing`."""
    parts.postgresql_bin()
    folder.mkdir(exist_ok=True)
    address = folder / "address.json"
    with _locked(folder / "users", fcntl.LOCK_SH):
        with _locked(folder / "start", fcntl.LOCK_EX):
            if not address.exists():
                _start_keeper(folder, address)
        yield Server(json.loads(address.read_text())["port"])


def keep(folder: Path) -> None:
    """Run the server until nobody uses it."""
    address = folder / "address.json"
    with (folder / "users").open("a") as users:
        with Postgres(folder / "server") as server:
            session.migrate(server.create(MIGRATED))
            partial = address.with_suffix(".partial")
            partial.write_text(json.dumps({"port": server.port}))
            partial.replace(address)
            fcntl.flock(users, fcntl.LOCK_EX)
            address.unlink()
        shutil.rmtree(folder / "server")


def _start_keeper(folder: Path, address: Path) -> None:
    command = [sys.executable, "-m", "tests.live.shared_postgres", str(folder)]
    with (folder / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until(lambda: address.exists() or keeper.poll() is not None, "the shared PostgreSQL")
    assert address.exists(), (folder / "keeper.log").read_text(errors="replace")
    keeper.returncode = 0  # it outlives us, and is not ours to wait for


@contextmanager
def _locked(path: Path, how: int) -> Iterator[IO[str]]:
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield file


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
