"""Certificates: who may connect to the broker, as whom, and who no longer. Needs no settings and no database."""

import os
import pwd
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from tillwatch_collector import eviction, files, mosquitto, pki
from tillwatch_collector.cli.options import JsonOption, now
from tillwatch_collector.cli.output import say, say_json, say_table, warn
from tillwatch_collector.errors import CallerError
from tillwatch_collector.pki import Authority, CertificateUnknown, Entry, FileInTheWay, Issued, Kind, Reason

commands = typer.Typer(
    help="Certificates: who may connect to the broker, as whom, and who no longer.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
issuing = typer.Typer(
    help="Make a certificate for a terminal or for a collector process.", no_args_is_help=True, rich_markup_mode=None
)
commands.add_typer(issuing, name="issue")

NAME_CHARACTERS_MAX = 64
"""Of a common name (RFC 5280, appendix A, ub-common-name)."""

WAIT_S, WAIT_S_MAX = 60.0, 600.0
"""For a broker to have read the newest revocation list: the promise is a minute."""

AuthorityOption = Annotated[
    Path, typer.Option("--ca", help="The folder of the authority. Keep it on a machine that few reach.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Where the files go; by default a new folder of the name, here.")
]
RequestOption = Annotated[
    Path | None,
    typer.Option("--csr", help="A signing request (PEM), so that the key stays where it is; its CN must be the name."),
]
DaysOption = Annotated[int, typer.Option("--days", min=1, max=pki.DAYS_MAX, help="How long it holds.")]
BrokerOption = Annotated[
    str | None, typer.Option("--broker", metavar="HOST:PORT", help="The broker to put it out of.", show_default=False)
]
WaitOption = Annotated[
    float,
    typer.Option("--wait-s", min=0, max=WAIT_S_MAX, help="How long the broker may take to read the newest list."),
]
FOLDER = Path("tillwatch-ca")
_PORT_MAX = 65_535


class OptionRefused(CallerError):  # noqa: N818 - it names what is so
    """An address, a folder or a user's name that cannot be one."""


class ServerMissing(CallerError):  # noqa: N818
    """The broker has no certificate yet."""


@commands.command()
def init(
    *,
    ca: AuthorityOption = FOLDER,
    name: Annotated[str, typer.Option("--name", help="As certificates will show it.")] = "tillwatch CA",
    days: Annotated[
        int, typer.Option("--days", min=1, max=pki.CA_DAYS_MAX, help="After which everything must be made anew.")
    ] = pki.CA_DAYS,
) -> None:
    """Make the authority, in a folder that has none.

    Then: `pki server` for the broker, `pki issue process` for each collector process, `pki issue terminal` for each
    till, `pki mosquitto` for the broker's settings.
    """
    if not (name.isprintable() and 1 <= len(name) <= NAME_CHARACTERS_MAX):
        raise typer.BadParameter(f"expected 1 to {NAME_CHARACTERS_MAX} printable characters", param_hint="--name")
    authority = Authority.create(ca, name=name, days=days, now=now())
    say(f"{ca}: an authority until {authority.not_after:%Y-%m-%d}")
    warn(f"back {ca} up, and let few reach it: who has {pki.CA_KEY_FILE} can connect as anyone")


@issuing.command()
def terminal(
    name: Annotated[str, typer.Argument(help="The terminal_id: letters, digits, - or _, and no dot.")],
    *,
    csr: RequestOption = None,
    days: DaysOption = pki.CLIENT_DAYS,
    out: OutOption = None,
    ca: AuthorityOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Make the certificate of one terminal: its name is the only one under which it can speak.

    Writes NAME.crt, NAME.key (unless --csr) and ca.crt, which an agent's [broker] names.
    """
    _issue(Kind.TERMINAL, name, csr, days=days, out=out or Path(name), ca=ca, as_json=as_json)


@issuing.command()
def process(
    name: Annotated[str, typer.Argument(help="The `process` of the collector's settings, with a dot: collector.1")],
    *,
    csr: RequestOption = None,
    days: DaysOption = pki.CLIENT_DAYS,
    out: OutOption = None,
    ca: AuthorityOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Make the certificate of one collector process, which hears all terminals.

    Writes NAME.crt, NAME.key (unless --csr) and ca.crt, which the collector's [broker] names. The broker must know the
    name, too: run `pki mosquitto` again, or add it to the access list.
    """
    _issue(Kind.PROCESS, name, csr, days=days, out=out or Path(name), ca=ca, as_json=as_json)


@commands.command()
def server(
    hosts: Annotated[list[str], typer.Argument(metavar="HOST...", help="Names and addresses that clients call it by.")],
    *,
    days: DaysOption = pki.SERVER_DAYS,
    ca: AuthorityOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Make the broker's certificate and key, in the authority's folder; made again, they replace the ones before.

    An agent's `host` must be one of these names. `pki mosquitto` hands them to the broker.
    """
    with pki.opened(ca) as authority:
        issued = authority.issue_server(hosts, days=days, now=now())
        files.replace(ca / pki.SERVER_KEY_FILE, issued.key or b"", 0o600)
        files.replace(ca / pki.SERVER_CERT_FILE, issued.certificate, 0o644)
    _say_issued(issued, [ca / pki.SERVER_CERT_FILE, ca / pki.SERVER_KEY_FILE], days, as_json=as_json)


@commands.command()
def revoke(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|SERIAL",
            help="All of a name that hold, or one by its serial; the broker's by serial only.",
        ),
    ],
    *,
    reason: Annotated[Reason, typer.Option("--reason", help="As the list says it.")] = Reason.UNSPECIFIED,
    out: Annotated[Path | None, typer.Option("--out", help="Also put the list here, whole, for the broker.")] = None,
    broker: BrokerOption = None,
    wait_s: WaitOption = WAIT_S,
    ca: AuthorityOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Put a terminal or a process out.

    The list (crl.pem) must reach the broker, which must read it: see --out. With --broker this waits until it has, and
    then ends the connection that stands. A lost key is out from then on; a new certificate for the same name gets in.
    """
    address = None if broker is None else _address(broker)
    with pki.opened(ca) as authority:
        at = now()
        revoked = authority.revoke(name, reason=reason, now=at)
        names = sorted({entry.name for entry in revoked if entry.kind is not Kind.SERVER})
        shown, left = eviction.passes(authority, names, at), _still_valid(authority.entries(), names, at)
        if out is not None:
            _hand_over_list(ca, out)
    for entry in revoked:
        warn(f"revoked {entry.kind} {entry.name}, serial {entry.serial}")
    _warn_of(left)
    if address is not None:
        eviction.evict(shown, *address, wait_s=wait_s)
        warn(f"out of {broker}")
    elif out is None:
        warn(f"bring {ca / pki.CRL_FILE} to the broker, then run `pki evict`: until then it is let in")
    if as_json:
        say_json(revoked)


@commands.command()
def evict(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Terminals and processes, revoked before; none: only look."),
    ] = None,
    *,
    broker: Annotated[str, typer.Option("--broker", metavar="HOST:PORT", help="The broker to put them out of.")],
    wait_s: WaitOption = WAIT_S,
    ca: AuthorityOption = FOLDER,
) -> None:
    """End connections that stand, once the broker refuses who is revoked.

    A name of which no certificate is revoked is refused (exit code 1). Exit code 0 when who holds a revoked certificate
    is out and stays out, 2 when not. Whoever has another certificate of the name, which holds, comes back with it: this
    says so. Without a name this only says whether the newest list is in force at the broker: 0 when it is, 2 when not.
    """
    address = _address(broker)
    wanted = [pki.checked_name(Kind.PROCESS if "." in name else Kind.TERMINAL, name) for name in names or ()]
    with pki.opened(ca) as authority:
        entries, at = authority.entries(), now()
        _expect_revoked(entries, wanted)
        shown = eviction.passes(authority, wanted, at)
    eviction.evict(shown, *address, wait_s=wait_s)
    if not wanted:
        say(f"{broker} has the newest revocation list in force")
        return
    say(f"out of {broker}, with what is revoked: {', '.join(wanted)}")
    _warn_of(_still_valid(entries, wanted, at))


@commands.command("list")
def list_certificates(
    *,
    expiring: Annotated[
        int | None, typer.Option("--expiring", min=0, max=pki.DAYS_MAX, metavar="DAYS", help="Only what ends by then.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is revoked or expired.")] = False,
    ca: AuthorityOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """List certificates that hold. Needs no key of the authority."""
    entries, at = pki.listed(ca), now()
    found = [entry for entry in entries if everything or entry.holds(at)]
    if expiring is not None:
        found = [entry for entry in found if entry.not_after <= at + timedelta(days=expiring)]
    if as_json:
        say_json(found)
        return
    columns = ("name", "kind", "serial", "not_after", "revoked_at", "reason")
    say_table(columns, ([getattr(entry, column) for column in columns] for entry in found))


@commands.command()
def crl(
    *,
    out: Annotated[Path | None, typer.Option("--out", help="Also put it here, whole, for the broker.")] = None,
    ca: AuthorityOption = FOLDER,
) -> None:
    """Write the revocation list anew; it holds as long as the authority."""
    with pki.opened(ca) as authority:
        number = authority.write_crl(now())
        if out is not None:
            _hand_over_list(ca, out)
    say(f"revocation list {number}: {out or ca / pki.CRL_FILE}")


@commands.command("mosquitto")
def configure(
    *,
    out: Annotated[Path, typer.Option("--out", help="Where the broker's files go.")],
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="To listen on.")] = mosquitto.PORT,
    address: Annotated[
        str | None, typer.Option("--address", help="To listen on; by default all of the machine's.")
    ] = None,
    process: Annotated[
        list[str] | None,
        typer.Option("--process", help="A collector process, again for more; by default all that have certificates."),
    ] = None,
    installed_at: Annotated[
        str | None, typer.Option("--installed-at", help="The folder on the broker's machine; by default --out.")
    ] = None,
    data_dir: Annotated[
        str, typer.Option("--data-dir", help="Where the broker keeps its state, on its machine.")
    ] = f"{mosquitto.DATA_DIR}",
    user: Annotated[
        str, typer.Option("--user", help="Whom the broker runs as; it must be able to read the files.")
    ] = mosquitto.USER,
    ca: AuthorityOption = FOLDER,
) -> None:
    """Write all that Mosquitto needs: settings, access list, certificates, revocation list.

    Run it again after `pki server`, after a new process, after a revocation: files are replaced whole, and Mosquitto
    reads them on SIGHUP. Run by root, the files belong to --user; else see to it that it can read them. Needs no key of
    the authority.
    """
    entries, at = pki.listed(ca), now()
    known = {entry.name for entry in entries if entry.kind is Kind.PROCESS and entry.holds(at)}
    processes = sorted({pki.checked_name(Kind.PROCESS, name) for name in process} if process else known)
    if not (ca / pki.SERVER_CERT_FILE).exists():
        raise ServerMissing("expected the broker to have a certificate, got none; `pki server HOST...` makes it")
    broker = mosquitto.Broker(
        port=port,
        address=None if address is None else str(pki.checked_host(address).value),
        installed_at=_folder("--installed-at", installed_at or f"{out.absolute()}"),
        data_dir=_folder("--data-dir", data_dir),
        user=_checked_user(user),
    )
    _write_broker(out, broker, processes, ca)
    say(f"{out / mosquitto.CONF_FILE}: port {port}, processes {', '.join(processes) or 'none'}")
    if not processes:
        warn("no collector process has a certificate: nobody will hear the terminals (`pki issue process`)")


def _write_broker(out: Path, broker: mosquitto.Broker, processes: list[str], ca: Path) -> None:
    """Put the files in place, the settings last: whoever waits for them finds the others there."""
    owner = _owner(broker.user)
    _make_enterable(out)
    for name, mode in _COPIED.items():
        files.replace(out / name, (ca / name).read_bytes(), mode, owner=owner)
    files.replace(out / mosquitto.ACL_FILE, mosquitto.access_list(processes).encode(), 0o600, owner=owner)
    files.replace(out / mosquitto.CONF_FILE, mosquitto.settings(broker).encode(), 0o644, owner=owner)


def _make_enterable(folder: Path) -> None:
    """Make a folder, and those above it, that the broker's user can enter, whatever our umask would keep from it."""
    if folder.is_dir():
        return
    _make_enterable(folder.parent)
    folder.mkdir()
    folder.chmod(0o755)


_COPIED = {pki.CA_CERT_FILE: 0o644, pki.SERVER_KEY_FILE: 0o600, pki.SERVER_CERT_FILE: 0o644, pki.CRL_FILE: 0o644}


def _issue(kind: pki.ClientKind, name: str, csr: Path | None, *, days: int, out: Path, ca: Path, as_json: bool) -> None:
    """Look at everything that can be wrong, then sign, then write."""
    pki.checked_name(kind, name)
    public_key = None if csr is None else pki.read_request(csr, name)
    cert_file, key_file = out / f"{name}.crt", out / f"{name}.key"
    if public_key is None and key_file.exists():
        raise FileInTheWay(f"--out: expected no key in the way, got {key_file}: move it, or name another folder")
    with pki.opened(ca) as authority:
        at = now()
        before = [entry for entry in authority.entries() if entry.name == name and entry.holds(at)]
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        issued = authority.issue(kind, name, public_key=public_key, days=days, now=at)
        if issued.key is not None:
            files.write_new_key(key_file, issued.key)
        files.replace(cert_file, issued.certificate, 0o644)
        files.replace(out / pki.CA_CERT_FILE, authority.certificate, 0o644)
    written = [cert_file, *([key_file] if issued.key else []), out / pki.CA_CERT_FILE]
    _say_issued(issued, written, days, as_json=as_json)
    for entry in before:
        warn(f"{name} has another certificate that holds: `pki revoke {entry.serial}` once the new one is in use")


def _say_issued(issued: Issued, written: list[Path], days: int, *, as_json: bool) -> None:
    entry = issued.entry
    if entry.not_after < entry.issued_at + timedelta(days=days) - timedelta(seconds=1):
        warn(f"it ends with the authority, sooner than in {days} days")
    if as_json:
        say_json({**entry.model_dump(mode="json", exclude_none=True), "files": [str(path) for path in written]})
        return
    say(f"{entry.kind} {entry.name}, until {entry.not_after:%Y-%m-%d}, serial {entry.serial}")
    for path in written:
        say(f"  {path}")


def _expect_revoked(entries: Sequence[Entry], names: Sequence[str]) -> None:
    revoked = {entry.name for entry in entries if entry.revoked_at is not None}
    for name in names:
        if name not in revoked:
            count = sum(entry.name == name for entry in entries)
            raise CertificateUnknown(
                f"expected a name with a revoked certificate, as `pki list --all` shows it, got {name!r}, "
                f"of which there are {count}, none of them revoked: nobody was put out; `pki revoke` comes first"
            )


def _still_valid(entries: Sequence[Entry], names: Sequence[str], at: datetime) -> list[Entry]:
    return [entry for entry in entries if entry.name in names and entry.holds(at)]


def _warn_of(left: Sequence[Entry]) -> None:
    """Say who is not out by name, since another certificate lets the name in."""
    for entry in left:
        warn(
            f"{entry.name} has another certificate that holds, serial {entry.serial}: whoever has that one gets in; "
            f"`pki revoke {entry.serial}` unless that is meant"
        )


def _hand_over_list(ca: Path, out: Path) -> None:
    """Put the list where the broker reads it, as whoever owns the one before."""
    owner = None
    if out.exists() and os.geteuid() == 0:
        owner = (out.stat().st_uid, out.stat().st_gid)
    try:
        files.replace(out, (ca / pki.CRL_FILE).read_bytes(), 0o644, owner=owner)
    except OSError as error:
        raise FileInTheWay(f"--out: expected a file that can be written, got {out}: {error.strerror}") from None


def _owner(user: str) -> tuple[int, int] | None:
    """Find the numbers of the user and its group, where we may give files away."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        warn(f"no user {user} here: on the broker's machine, give it the files (chown -R {user}: FOLDER)")
        return None
    if found.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        warn(f"the files are yours: give them to {user} (chown -R {user}: FOLDER), or it cannot read its key")
        return None
    return found.pw_uid, found.pw_gid


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= _PORT_MAX:
        raise OptionRefused(f"--broker: expected HOST:PORT such as broker.example.org:8883, got {text[:300]!r}")
    return str(pki.checked_host(host.strip("[]")).value), int(port)


def _checked_user(user: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,31}", user):
        raise OptionRefused(f"--user: expected a user's name, got {user[:100]!r}")
    return user


def _folder(option: str, text: str) -> PurePosixPath:
    """Take what stands on one line of the settings."""
    if not (text.startswith("/") and text.isprintable()):
        raise OptionRefused(f"{option}: expected an absolute path, got {text[:300]!r}")
    return PurePosixPath(text)
