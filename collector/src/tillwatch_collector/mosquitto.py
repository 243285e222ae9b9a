"""What Mosquitto must be told for terminals and collector processes to meet: its settings and its access list, as text.

Whoever connects shows a certificate; its common name becomes user name and client id, whatever the client says. The
access list then gives every name its own topics. A terminal's name has no dot, so no terminal is one of the processes
that are named in full; a process's name has one, so what the terminals' patterns grant it are topics that no terminal
bears and no collector reads.

A change violates this when an identity can say, hear or bear more than is its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tillwatch_protocol import topics
from tillwatch_protocol.vocabulary import PAYLOAD_BYTES_MAX

CONF_FILE, ACL_FILE = "mosquitto.conf", "acl"
INSTALLED_AT = PurePosixPath("/etc/mosquitto/tillwatch")
DATA_DIR = PurePosixPath("/var/lib/mosquitto")
PORT = 8883
USER = "mosquitto"

PACKET_BYTES_MAX = PAYLOAD_BYTES_MAX + 2 * 1024
"""The largest payload with its topic and header, rounded up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """What differs from one broker to the next; folders are those of the broker's machine."""

    port: int = PORT
    address: str | None = None
    """None: all of the machine's."""
    installed_at: PurePosixPath = INSTALLED_AT
    data_dir: PurePosixPath = DATA_DIR
    user: str = USER


def access_list(processes: Sequence[str]) -> str:
    """Write the access list; `processes` are names of collector processes, checked by the caller."""
    root = topics.ROOT
    own = "\n".join(
        f"""
user {process}
topic read {root}/t/+/up/#
topic write {root}/t/+/dn/#
topic readwrite {root}/c/{process}/#"""
        for process in processes
    )
    return f"""\
# Written by `tillwatch-collector pki mosquitto`; it is read again on SIGHUP. What is not granted here is denied.
#
# Every identity: %u is the common name of the certificate that the client showed.
pattern write {root}/t/%u/up/#
pattern read {root}/t/%u/dn/#
# Which collector processes listen is everyone's to know. (Mosquitto warns that this pattern names nobody: it is meant.)
pattern read {topics.STATE.filter}

# Collector processes, each by its full name.
{own.lstrip()}
"""


def settings(broker: Broker) -> str:
    """Write mosquitto.conf."""
    files = broker.installed_at
    listener = f"{broker.port} {broker.address}" if broker.address else f"{broker.port}"
    return f"""\
# Written by `tillwatch-collector pki mosquitto`, for Mosquitto 2.0 and 2.1. It is a whole configuration, not a part of
# one: start Mosquitto with it (mosquitto -c), and have no other listener beside it.

user {broker.user}

# --- who comes in: certificates of our authority, and nobody else
listener {listener}
cafile {files}/ca.crt
certfile {files}/server.crt
keyfile {files}/server.key
# Read again on SIGHUP, as are the other files. A list that cannot be read then lets the revoked in again: put a new one
# in its place whole (mv, install, rsync; not scp, not an editor), or let tillwatch-mosquitto-reload.path look after it.
crlfile {files}/crl.pem
# 1.2 is the lowest that it accepts, 1.3 is what it prefers.
tls_version tlsv1.2
require_certificate true
allow_anonymous false

# --- as whom: the certificate says it, whatever the client says
use_identity_as_username true
# A second connection under one certificate ends the first, which is also how a revoked one is put out.
use_username_as_clientid true

# --- what for. Mosquitto 2.1 calls acl_file old and takes it; from 3.0 on it is the plugin of the same name:
#     plugin /usr/lib/x86_64-linux-gnu/mosquitto_acl_file.so
#     plugin_opt_acl_file {files}/{ACL_FILE}
acl_file {files}/{ACL_FILE}

# --- how much
# A payload of {PAYLOAD_BYTES_MAX // 1024} KiB, the largest that is read, with its topic and header.
max_packet_size {PACKET_BYTES_MAX}
# For each client that reads slower than it is sent to; only collector processes are sent much. Ten seconds of 10,000
# messages a second, some 60 MB. Beyond, heartbeats are lost (the next one is the truth), events come again.
max_queued_messages 100000
# To one client, unacknowledged: what keeps a collector process busy over a round trip; agents have 20 under way.
max_inflight_messages 1000
# Agents and collectors keep their own state and come with clean sessions: what stays longer is somebody else's.
persistent_client_expiration 1d
set_tcp_nodelay true

# --- what survives a restart: retained presence and state. Both are said again by those who live; a minute is enough.
persistence true
persistence_location {broker.data_dir}/
autosave_interval 60

# --- what it says. To standard error, which the journal keeps: a logrotate that sends SIGHUP is one reload too many.
log_dest stderr
log_type error
log_type warning
log_type notice
# Not every connect and disconnect of a fleet.
connection_messages false
"""
