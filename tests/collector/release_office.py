"""People with keys, and a folder of releases that they sign."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from tillwatch_collector.release_keys import NAME_FIELD
from tillwatch_collector.release_rules import Holders, Office
from tillwatch_collector.signing import ReleaseFolder
from tillwatch_protocol.release import InstallerKind, Release

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PEOPLE = ("alice", "bob", "carol")


def named(name: str) -> CryptoSigner:
    """Make somebody's key."""
    signer = CryptoSigner.generate_ed25519()
    signer.public_key.unrecognized_fields[NAME_FIELD] = name
    return signer


def release(version: str, product: str = "till", **more: Any) -> Release:
    return Release.model_validate({"product": product, "version": version, "installer": InstallerKind.BUNDLE, **more})


@dataclass
class Desk:
    """Root 2 of 3, releases 1 of 2, one online key."""

    folder: Path
    now: datetime = NOW
    keys: dict[str, CryptoSigner] = field(default_factory=lambda: {name: named(name) for name in (*PEOPLE, "online")})

    @property
    def releases(self) -> ReleaseFolder:
        return ReleaseFolder(self.folder)

    @property
    def online(self) -> CryptoSigner:
        return self.keys["online"]

    def begin(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.releases.begin(
            {
                Office.ROOT: Holders(keys=tuple(self.keys[name].public_key for name in PEOPLE), threshold=2),
                Office.RELEASE: Holders(keys=tuple(self.keys[name].public_key for name in ("alice", "bob"))),
                Office.ONLINE: Holders(keys=(self.online.public_key,)),
            },
            self.now,
        )

    def sign(self, *names: str) -> None:
        for name in names:
            self.releases.sign(self.keys[name])

    def publish(self) -> tuple[str, ...]:
        return self.releases.publish(self.online, self.now)

    def opened(self) -> "Desk":
        """Publish the first root and an empty list."""
        self.begin()
        self.sign("alice", "bob")
        self.publish()
        return self

    def add(self, version: str, content: bytes = b"", target: str = "", **more: Any) -> str:
        file = self.folder.parent / f"till-{version}.tar.gz"
        file.write_bytes(content or f"till {version}".encode())
        said = release(version, **more)
        added, _ = self.releases.add(file, target or f"{said.product}/{file.name}", said, self.now)
        return added.path

    def bring(self, version: str, **more: Any) -> str:
        """Add, sign and publish a release."""
        target = self.add(version, **more)
        self.sign("alice")
        self.publish()
        return target
