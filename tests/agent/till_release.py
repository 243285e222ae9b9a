"""A release of a till as its makers pack it, signed and shown on loopback; and how its till is set up."""

import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.agent.release_site import Repository, Site

from tillwatch_agent.installer import launcher

LAUNCHER = Path(launcher.__file__)


def packed(version: str, *, script: str = "exit 0") -> bytes:
    """Pack a till whose program is a shell script."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packer, tarfile.open(fileobj=packer, mode="w") as archive:
        content = f"#!/bin/sh\n# {version}\n{script}\n".encode()
        member = tarfile.TarInfo("run.sh")
        member.size, member.mode = len(content), 0o755
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def target_of(version: str) -> str:
    return f"till/till-{version}.tar.gz"


def add(repository: Repository, version: str, **words: Any) -> str:
    """Have a release signed; returns its digest."""
    content = packed(version)
    custom = {"product": "till", "version": version, "installer": "bundle", "installed_bytes": 10_000} | words
    repository.add(target_of(version), content, custom)
    repository.publish()
    return hashlib.sha256(content).hexdigest()


def update_table(folder: Path, site: Site, repository: Repository, **product: Any) -> dict[str, Any]:
    """Write [update] of a till that is started by its launcher whenever its hook says so."""
    root = folder / "root.json"
    root.write_bytes(repository.first_root)
    restart = [sys.executable, "-I", str(LAUNCHER), str(folder / "till"), "--", "./run.sh"]
    till = {
        "name": "till",
        "installer": "bundle",
        "folder": str(folder / "till"),
        "restart": restart,
        "unguarded": True,
    }
    return {
        "metadata_url": site.url("metadata"),
        "targets_url": site.url("targets"),
        "trusted_root": str(root),
        "spread_s": 0.0,
        "products": [till | product],
    }


def launch(root: Path) -> None:
    """Start what is chosen, as its launcher does."""
    seen = launcher.Root(root.absolute())
    for start in seen.starts():
        seen.announce(start)
        return
