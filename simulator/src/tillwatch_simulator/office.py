"""Who signs the releases of a demonstration: one person with a key, by the collector's own commands.

A shop would have several people with keys, on machines that no network reaches. What is signed is a real archive, which
the collector serves and names by its digest; simulated terminals, which run nothing, know of it no more than that.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tillwatch_simulator.processes import ask_collector
from tillwatch_simulator.releases import Release, Signed

PASSPHRASE = "only for this demonstration"  # noqa: S105 - the key lives as long as the demonstration
SIGNER = "alice"


class Office:
    """Releases of one demonstration, packed at once; `publish` signs them."""

    def __init__(self, folder: Path, releases: Iterable[Release]) -> None:
        """Pack them; what is published will lie in `folder / "releases"`."""
        self.releases = folder / "releases"
        self._desk = folder / "office"
        self._desk.mkdir(parents=True)
        self.packed = tuple(self._packed(release) for release in releases)

    def publish(self) -> None:
        """Make keys, sign, publish: some seconds for each command; raises `PartFailed`."""
        desk, where = self._desk, ("--folder", str(self.releases))
        own, online, passphrase = desk / f"{SIGNER}.pem", desk / "online.pem", desk / "passphrase"
        passphrase.write_text(PASSPHRASE, encoding="utf-8")
        opens = ("--passphrase-file", str(passphrase))
        ask_collector("release", "key", str(own), *opens)
        ask_collector("release", "key", str(online), "--online")
        owns, signs = (f"{own.with_suffix('.pub')}", f"{online.with_suffix('.pub')}")
        ask_collector("release", "init", "--root-key", owns, "--release-key", owns, "--online-key", signs, *where)
        for one in self.packed:
            said = ("--product", one.release.product, "--version", one.release.version, "--installer", "bundle")
            ask_collector("release", "add", str(desk / one.release.file_name), *said, *where)
        ask_collector("release", "sign", "--key", str(own), *opens, *where)
        ask_collector("release", "publish", "--online-key", str(online), *where)

    def _packed(self, release: Release) -> Signed:
        content = _archive(release)
        (self._desk / release.file_name).write_bytes(content)
        return Signed(release=release, digest=hashlib.sha256(content).hexdigest())


def _archive(release: Release) -> bytes:
    """Pack a program that says its version."""
    program = f"#!/bin/sh\necho {release.product} {release.version}\n".encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo(release.product)
        member.size, member.mode = len(program), 0o755
        archive.addfile(member, io.BytesIO(program))
    return packed.getvalue()
