"""Releases of a demonstration, signed by the collector's own commands."""

import hashlib
import json
import tarfile
from pathlib import Path

from tillwatch_simulator.office import Office
from tillwatch_simulator.processes import ask_collector
from tillwatch_simulator.releases import Release


def test_what_is_packed_is_signed_and_published_with_the_same_digest(tmp_path: Path) -> None:
    office = Office(tmp_path, [Release(product="till", version="2.1"), Release(product="till", version="2.2")])
    office.publish()
    listed = json.loads(ask_collector("release", "list", "--folder", str(office.releases), "--json"))
    published = {one["target"]: one["sha256"] for one in listed["published"]}
    assert published == {one.release.target: one.digest for one in office.packed}
    assert listed["drafts"] == []
    archive = tmp_path / "office" / "till-2.1.tar.gz"
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == office.packed[0].digest
    with tarfile.open(archive) as packed:
        assert packed.getnames() == ["till"]
