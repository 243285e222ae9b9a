"""Releases: who may sign them, drafts, signatures, and what terminals are shown. Needs no settings and no database.

Any machine with the folder will do for drafts and signatures; only `publish` and `refresh` need the online key.
"""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from tillwatch_collector import files, release_files, release_keys, signing
from tillwatch_collector.cli.options import JsonOption, now
from tillwatch_collector.cli.output import say, say_json, say_table, warn
from tillwatch_collector.domain import mistakes
from tillwatch_collector.errors import CallerError
from tillwatch_collector.release_keys import KeyUnusable
from tillwatch_collector.release_rules import Holders, Office, ReleaseRefused
from tillwatch_collector.releases import Shelf
from tillwatch_collector.signing import ReleaseFolder
from tillwatch_protocol.release import InstallerKind, Release, TargetPath

commands = typer.Typer(
    help="Releases: who may sign them, drafts, signatures, and what terminals are shown.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

REASON_CHARS_MAX = 300

FolderOption = Annotated[Path, typer.Option("--folder", help="The folder of the releases.")]
FOLDER = Path("tillwatch-releases")
_TARGET: TypeAdapter[str] = TypeAdapter(TargetPath)
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Its first line opens the key; by default it is asked for."),
]
OnlineKeyOption = Annotated[Path, typer.Option("--online-key", help="The online key, a PEM file.")]
KeyOption = Annotated[Path, typer.Option("--key", help="Your key, a PEM file.")]


class RepositoryBroken(CallerError):  # noqa: N818 - it names what is so
    """What is published is not whole."""


@commands.command()
def key(
    path: Annotated[Path, typer.Argument(help="Where it goes, named after its owner: alice.pem.")],
    *,
    passphrase_file: PassphraseOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="The collector's own, in clear text: it signs no releases.")
    ] = False,
) -> None:
    """Make a key: NAME.pem, which its owner keeps, and NAME.pub, which `init` and `rotate-key` are given."""
    passphrase = None if online else _passphrase(path, passphrase_file, confirm=True)
    release_keys.create(path, passphrase)
    say(f"{path} and {path.with_suffix('.pub')}")
    if not online:
        warn(f"keep {path} and its passphrase apart, and off the machines that a network reaches")


@commands.command()
def init(
    *,
    root_key: Annotated[list[Path], typer.Option("--root-key", help="A public key that signs roots; repeat it.")],
    root_threshold: Annotated[int, typer.Option("--root-threshold", help="How many of them must sign.")] = 1,
    release_key: Annotated[list[Path], typer.Option("--release-key", help="One that signs releases; repeat it.")],
    release_threshold: Annotated[int, typer.Option("--release-threshold", help="How many of them must sign.")] = 1,
    online_key: Annotated[Path, typer.Option("--online-key", help="The public half of the collector's.")],
    folder: FolderOption = FOLDER,
) -> None:
    """Draft the first root and an empty list of releases: then `sign`, until enough have, and `publish`."""
    holders = {
        Office.ROOT: Holders(keys=tuple(map(release_keys.public, root_key)), threshold=root_threshold),
        Office.RELEASE: Holders(keys=tuple(map(release_keys.public, release_key)), threshold=release_threshold),
        Office.ONLINE: Holders(keys=(release_keys.public(online_key),)),
    }
    with signing.opened(folder, make=True) as releases:
        releases.begin(holders, now())
        _say_signings(releases)


@commands.command()
def add(
    file: Annotated[Path, typer.Argument(help="The file that terminals are to get.")],
    *,
    product: Annotated[str, typer.Option("--product", help="Of what it is a version: till, driver_tables, agent.")],
    version: Annotated[str, typer.Option("--version", help="One to four numbers with dots: 2.1.0.")],
    installer: Annotated[InstallerKind, typer.Option("--installer", help="How it is brought to run.")],
    machine: Annotated[list[str] | None, typer.Option("--machine", help="Only for these: x86_64; repeat it.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only for these terminals; repeat it.")] = None,
    agent_min: Annotated[str | None, typer.Option("--agent-min", help="The least version of the agent.")] = None,
    installed_bytes: Annotated[int | None, typer.Option("--installed-bytes", help="Unpacked.")] = None,
    notes: Annotated[str, typer.Option("--notes", help="One line for whoever approves it.")] = "",
    folder: FolderOption = FOLDER,
) -> None:
    """Draft one more release."""
    release = _described(
        product=product,
        version=version,
        installer=installer,
        machines=tuple(machine or ()),
        models=tuple(model or ()),
        agent_version_min=agent_min,
        installed_bytes=installed_bytes,
        notes=notes,
    )
    target = release_target(product, file.name)
    release_files.expect_packed(file, installer)
    with signing.opened(folder) as releases:
        added, lost = releases.add(file, target, release, now())
        say(f"{added.path}: {added.length} bytes, sha256 {added.hashes['sha256']}")
        _say_signings(releases, lost)


@commands.command()
def revoke(
    target: Annotated[str, typer.Argument(help="As `list` shows it: till/till-2.1.0.tar.gz.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is signed and published.")],
    folder: FolderOption = FOLDER,
) -> None:
    """Draft that a release is taken back; its version is not given again."""
    if not (reason.isprintable() and 1 <= len(reason.strip()) <= REASON_CHARS_MAX):
        raise ReleaseRefused(f"--reason: expected 1 to {REASON_CHARS_MAX} printable characters")
    with signing.opened(folder) as releases:
        _say_signings(releases, releases.revoke(target, reason.strip(), now()))


@commands.command()
def drop(
    target: Annotated[str, typer.Argument(help="As `add` or `revoke` named it: till/till-2.1.0.tar.gz.")],
    *,
    folder: FolderOption = FOLDER,
) -> None:
    """Take a release, or that one is taken back, out of the draft again; what is published stays."""
    with signing.opened(folder) as releases:
        _say_signings(releases, releases.drop(target, now()))


@commands.command()
def sign(*, key: KeyOption, passphrase_file: PassphraseOption = None, folder: FolderOption = FOLDER) -> None:
    """Add your signature to every draft that your key may sign."""
    signer = release_keys.signer(key, _passphrase(key, passphrase_file))
    with signing.opened(folder) as releases:
        for signed in releases.sign(signer):
            say(f"signed {signed}")
        _say_signings(releases)


@commands.command()
def publish(
    *,
    online_key: OnlineKeyOption,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take drafts and files over from this folder, such as a stick.")
    ] = None,
    folder: FolderOption = FOLDER,
) -> None:
    """Publish what enough people have signed; terminals see it from then on."""
    signer = release_keys.signer(online_key, None)
    with signing.opened(folder, make=source is not None) as releases:
        if source is not None:
            with signing.opened(source) as carried:
                releases.take_drafts(carried)
        for published in releases.publish(signer, now()):
            say(f"published {published}")


@commands.command()
def refresh(*, online_key: OnlineKeyOption, folder: FolderOption = FOLDER) -> None:
    """Say anew that what is published is current; a collector with [releases] does it by itself."""
    with signing.opened(folder) as releases:
        for renewed in releases.refresh(release_keys.signer(online_key, None), now()):
            say(f"published {renewed}")


@commands.command("rotate-key")
def rotate_key(
    office: Annotated[Office, typer.Argument(help="Whose key.")],
    *,
    out: Annotated[str | None, typer.Option("--out", help="The name or id of the key that goes.")] = None,
    new: Annotated[Path | None, typer.Option("--new", help="The public key that comes.")] = None,
    threshold: Annotated[int | None, typer.Option("--threshold", help="How many must sign from then on.")] = None,
    folder: FolderOption = FOLDER,
) -> None:
    """Draft a root with other keys: lost, stolen, or somebody left. It needs the old root's threshold and its own."""
    if out is None and new is None and threshold is None:
        raise ReleaseRefused("expected --out, --new or --threshold, got none of them")
    comes = None if new is None else release_keys.public(new)
    with signing.opened(folder) as releases:
        lost = releases.rotate(office, out=out, key=comes, threshold=threshold, now=now())
        _say_signings(releases, lost)


@commands.command()
def renew(
    office: Annotated[Office, typer.Argument(help="root, or release for the list of releases.")],
    *,
    folder: FolderOption = FOLDER,
) -> None:
    """Draft the same with a new end, before the old one comes: see `verify`."""
    if office is Office.ONLINE:
        raise ReleaseRefused("expected root or release, got online: `release refresh` renews what the online key signs")
    with signing.opened(folder) as releases:
        _say_signings(releases, releases.renew(office, now()))


@commands.command("list")
def list_releases(*, folder: FolderOption = FOLDER, as_json: JsonOption = False) -> None:
    """List what is published, what was taken back, and how far drafts are signed."""
    with signing.opened(folder) as releases:
        found, signings = Shelf(folder).look(), releases.signings()
    if as_json:
        say_json({"published": found, "drafts": signings})
        return
    rows = [[one.target, one.version, one.installer, one.bytes, "revoked" if one.revoked else ""] for one in found]
    say_table(("target", "version", "installer", "bytes", ""), rows)
    for signing_of in signings:
        warn(f"draft: {signing_of}")


@commands.command()
def verify(*, folder: FolderOption = FOLDER) -> None:
    """Check every signature, end and file of what is published; exit 1 where something is wrong."""
    with signing.opened(folder) as releases:
        found = releases.problems(now())
    for problem in found:
        warn(problem)
    if found:
        raise RepositoryBroken(f"expected a whole repository in {folder}, got {len(found)} problems")
    for role, ends_at in Shelf(folder).ends().items():
        say(f"{role}: holds until {ends_at:%Y-%m-%d %H:%M} UTC")


@commands.command()
def root(
    out: Annotated[Path, typer.Argument(help="Where it goes: terminals get it with the agent.")],
    *,
    version: Annotated[int, typer.Option("--version", min=1)] = 1,
    folder: FolderOption = FOLDER,
) -> None:
    """Copy a published root, by which terminals know all that follow."""
    with signing.opened(folder) as releases:
        content = releases.root_bytes(version)
    try:
        files.replace(out, content, 0o644)
    except OSError as error:
        raise ReleaseRefused(f"expected a file that can be written, got {out}: {error.strerror}") from None
    say(str(out))


def release_target(product: str, file_name: str) -> str:
    """Name the target of a product's file; raises `ReleaseRefused`."""
    try:
        return _TARGET.validate_python(f"{product}/{file_name}")
    except ValidationError:
        raise ReleaseRefused(
            f"expected a file name of up to 64 letters, digits, dots, - and _ that does not begin with a dot, "
            f"got {file_name[:100]!r}"
        ) from None


def _described(**said: object) -> Release:
    try:
        return Release.model_validate(said)
    except ValidationError as error:
        raise ReleaseRefused(f"--{mistakes.told(error, 'release')}") from None


def _passphrase(key: Path, file: Path | None, *, confirm: bool = False) -> bytes:
    if file is not None:
        return release_keys.passphrase_of(file)
    if not confirm and not release_keys.is_encrypted(key):
        raise KeyUnusable(f"{key}: expected an encrypted key; only the online key may lie in clear text")
    asked: str = typer.prompt(f"Passphrase of {key.name}", hide_input=True, confirmation_prompt=confirm)
    return asked.encode()


def _say_signings(releases: ReleaseFolder, lost: tuple[str, ...] = ()) -> None:
    if lost:
        warn(f"the draft changed: {', '.join(lost)} must sign it again")
    signings = releases.signings()
    for one in signings:
        say(str(one))
    if signings and not any(one.missing for one in signings):
        say("enough have signed: `release publish` shows it to terminals")
