"""Settings of the collector: one TOML file, with `TILLWATCH_*` variables above it (`TILLWATCH_WEB__PORT=9000`).

Built once, in `__main__`, and passed down. An unknown key is refused, and an error names the key, what was expected and
what came. No setting holds a secret or has one as its default: passwords and keys are named by file.

Pages and API carry tokens, so they listen beyond loopback only over TLS, or behind a proxy that the operator has
named as such. A change violates this when a collector can be reached from another machine in clear text by default.
"""

import difflib
import os
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tillwatch_collector.domain.retention import Retention
from tillwatch_collector.errors import OperatorError
from tillwatch_protocol.vocabulary import ProcessName

ENV_PREFIX = "TILLWATCH_"

Port = Annotated[int, Field(ge=1, le=65_535)]
AnyPort = Annotated[int, Field(ge=0, le=65_535)]
"""0 picks a free one."""

_NEVER_SHOWN = frozenset({"database_url"})
"""Settings that may hold a password; an error about one does not repeat it."""


class ConfigError(OperatorError):
    """The settings cannot be used; the message says which key, what was expected, and what came."""


def is_loopback(host: str) -> bool:
    """Whether `host` is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BrokerConfig(_Section):
    """The MQTT broker to use; without this table the embedded one is started."""

    host: str = Field(min_length=1)
    port: Port | None = None
    """By default 8883 with a `ca_file`, 1883 without."""
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=600)] = 30

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.cert_file is None) is not (self.key_file is None):
            raise ValueError("expected cert_file and key_file together")
        if self.cert_file is not None and self.ca_file is None:
            raise ValueError("expected a ca_file beside cert_file: TLS is on where ca_file is named")
        if self.password_file is not None and self.username is None:
            raise ValueError("expected a username beside password_file")
        return self

    @property
    def port_used(self) -> int:
        """The port, or its default."""
        return self.port if self.port is not None else (1883 if self.ca_file is None else 8883)


class EmbeddedBrokerConfig(_Section):
    """The broker for trying out: a child process on loopback. Never for a shop."""

    port: AnyPort = 0


class WebConfig(_Section):
    """Where pages and API are served."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: AnyPort = 8080
    allowed_hosts: tuple[str, ...] = ()
    """Names by which browsers may call it, beside those of loopback; a foreign name is a DNS rebinding attack."""
    behind_proxy: bool = False
    """Says that a proxy in front does TLS, and that nothing else reaches this port."""
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    body_bytes_max: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 8 * 1024 * 1024
    """A request's body: 50,000 rows of a CSV import are some 5 MB."""

    @model_validator(mode="after")
    def _not_in_the_open(self) -> Self:
        if (self.tls_cert_file is None) is not (self.tls_key_file is None):
            raise ValueError("expected tls_cert_file and tls_key_file together")
        if not (is_loopback(self.host) or self.tls or self.behind_proxy):
            raise ValueError(
                f"expected a loopback host, or tls_cert_file and tls_key_file, or behind_proxy = true: "
                f"tokens must not cross a network in clear text; got host {self.host!r}"
            )
        return self

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS itself."""
        return self.tls_cert_file is not None


class JudgeConfig(_Section):
    """How facts are judged, and how the collector knows that it hears."""

    policy_file: Path | None = None
    hold_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    """All holds of the policy are multiplied by it; demonstrations take less than 1."""
    lost_hold_s: Annotated[float, Field(ge=0, le=600)] = 75.0
    """How long a terminal whose connection was lost may take for a new one; `hold_scale` multiplies it, too."""
    opening_grace_s: Annotated[float, Field(ge=0, le=4 * 3600)] = 900.0
    """Time after a store's opening in which people are still switching things on."""
    closing_grace_s: Annotated[float, Field(ge=0, le=4 * 3600)] = 900.0
    """Time before a store's closing in which they may be switching them off."""
    canary_s: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    tick_s: Annotated[float, Field(ge=0.05, le=60)] = 0.25
    """An idle tick reads a few rows, some milliseconds of work; a fault waits half of this on average."""


SharePct = Annotated[float, Field(gt=0, le=100)]


class OutageConfig(_Section):
    """When many terminals have one cause; see `domain.outage`."""

    terminals_min: Annotated[int, Field(ge=2, le=10_000)] = 5
    """Fewer than this are single troubles, whatever share of a place they are."""
    share_pct: SharePct = 50.0
    """Of a store's, carrier's, merchant's, region's, broker's or release's terminals."""
    fleet_pct: SharePct = 30.0
    """Of all."""
    span_s: Annotated[float, Field(gt=0, le=3600)] = 180.0
    """How far apart conditions of one cause may show."""


class SlaConfig(_Section):
    """What service contracts promise."""

    file: Path | None = None


Days = Annotated[int, Field(ge=1, le=36_500)]
"""A hundred years are for ever."""


class HistoryConfig(_Section):
    """What is kept of measures, and how fine for how long."""

    enabled: bool = True
    samples_days: Days = 14
    """The fine past: the week of a fault, and the one before it to compare with."""
    hourly_days: Days = 100
    """A quarter, for what changes with weekdays and weather."""
    daily_days: Days = 1_100
    """Three years, the life of a warranty, for what ages."""

    @model_validator(mode="after")
    def _coarser_longer(self) -> Self:
        if not self.samples_days <= self.hourly_days <= self.daily_days:
            raise ValueError("expected samples_days <= hourly_days <= daily_days: what is coarse is kept longer")
        return self


class RetentionConfig(_Section):
    """How long all else that grows is kept."""

    events_days: Days = 400
    """PCI DSS 4.0.1, 10.5.1: twelve months of log, with a month to look at them. Of messages to routes, too."""
    tickets_days: Days = 1_100
    """Of tickets and rollouts that ended, with all that was written on them, and of maintenance: a warranty's three
    years."""
    quarantine_days: Days = 30
    """Somebody looks at what could not be used within a month, or never."""
    quarantine_rows_max: Annotated[int, Field(ge=100, le=10_000_000)] = 100_000
    """Some 200 MB at their longest: a peer that talks nonsense fills no disk."""
    streams_kept: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Of a terminal, however old; beyond them those go that were not heard for events_days."""


class NotifyConfig(_Section):
    """Who is told of tickets."""

    routes_file: Path | None = None
    """By default nobody."""
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=200)] | None = None
    """Where people find the console: messages link to it."""


class ReleasesConfig(_Section):
    """Where signed releases lie, and what says that they are current."""

    folder: Path | None = None
    """Made by `release init`; by default there are no releases."""
    online_key_file: Path | None = None
    """By default others renew what is published, with `release refresh`."""

    @model_validator(mode="after")
    def _of_a_folder(self) -> Self:
        if self.online_key_file is not None and self.folder is None:
            raise ValueError("expected a folder beside online_key_file")
        return self


class RolloutsConfig(_Section):
    """How rollouts are driven; what makes one safe is in its own plan."""

    look_s: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    """Between two looks at all of them, each of which reads their open jobs; a `go` waits half of it on average."""


class CollectorConfig(BaseSettings):
    """All settings. `load` builds it."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, allow_inf_nan=False
    )

    data_dir: Path = Path("tillwatch-data")
    database_url: Annotated[str, Field(min_length=1)] | None = None
    """By default SQLite in `data_dir`."""
    process: ProcessName = "collector.1"
    """Name of this process on the wire, and its user at the broker; by default `ingest.1`, `tick.1` or `web.1` where
    one role runs alone. Every process needs its own."""
    broker: BrokerConfig | None = None
    embedded_broker: EmbeddedBrokerConfig = Field(default_factory=EmbeddedBrokerConfig)
    web: WebConfig = Field(default_factory=WebConfig)
    judge: JudgeConfig = Field(default_factory=JudgeConfig)
    outages: OutageConfig = Field(default_factory=OutageConfig)
    sla: SlaConfig = Field(default_factory=SlaConfig)
    notify: NotifyConfig = Field(default_factory=NotifyConfig)
    releases: ReleasesConfig = Field(default_factory=ReleasesConfig)
    rollouts: RolloutsConfig = Field(default_factory=RolloutsConfig)
    history: HistoryConfig = Field(default_factory=HistoryConfig)
    retention: RetentionConfig = Field(default_factory=RetentionConfig)

    @model_validator(mode="after")
    def _one_broker(self) -> Self:
        if self.broker is not None and "embedded_broker" in self.model_fields_set:
            raise ValueError("expected one of [broker] and [embedded_broker], got both")
        return self

    @property
    def retained(self) -> Retention:
        """How long everything is kept."""
        history = self.history
        return Retention(
            samples_days=history.samples_days,
            hourly_days=history.hourly_days,
            daily_days=history.daily_days,
            **self.retention.model_dump(),
        )

    @property
    def database_url_used(self) -> str:
        """The database, or its default."""
        return self.database_url or f"sqlite:///{self.database_file}"

    @property
    def database_file(self) -> Path:
        """Where the database is by default."""
        return self.data_dir / "collector.db"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings passes all of them
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not a source of ours
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not a source of ours
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment above the file, whose content comes as init settings."""
        return env_settings, init_settings


def load(path: Path | None) -> CollectorConfig:
    """Read the file (none: all defaults) and the environment; raises `ConfigError`."""
    values = {} if path is None else _read(path)
    try:
        return CollectorConfig(**values)
    except ValidationError as error:
        raise ConfigError(_said(path, error)) from None
    except ValueError as error:
        # pydantic-settings wraps a nested variable that is not JSON into its own error.
        raise ConfigError(f"environment {ENV_PREFIX}*: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file, got {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected TOML, got: {error}") from None


def _said(path: Path | None, error: ValidationError) -> str:
    """One line per mistake: the key, what was expected, what came."""
    lines = [_line(detail["loc"], detail["type"], detail["msg"], detail["input"]) for detail in error.errors()]
    where = f"{path}" if path is not None else f"settings (environment {ENV_PREFIX}*)"
    return f"{where}: " + "; ".join(lines)


def _line(location: tuple[int | str, ...], kind: str, message: str, value: object) -> str:
    key = ".".join(map(str, location)) or "the whole"
    if kind == "extra_forbidden":
        return f"{key}: unknown key; expected {_known_keys(location)}"
    said = message.removeprefix("Value error, ")
    if kind == "value_error":
        return f"{key}: {said}"
    if kind == "missing":
        return f"{key}: expected a value, got none"
    if kind in _EXPECTED:
        said = f"expected {_EXPECTED[kind]}"
    if key == "process":
        said = f"expected {_PROCESS_NAME}"
    got = "" if key in _NEVER_SHOWN else f", got {value!r}"
    return f"{key}: {said.replace('Input should be', 'expected', 1)}{got}"


_EXPECTED = {
    "path_type": "a path",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "string_too_short": "some text",
    "tuple_type": "a list",
}
"""What pydantic tells in Python's words."""

_PROCESS_NAME = "a name with a dot such as collector.1: parts of letters, digits, - or _"


def _known_keys(location: tuple[int | str, ...]) -> str:
    """Name the nearest known key of the table that an unknown one stands in, or all of them."""
    table: type[BaseModel] = CollectorConfig
    for part in location[:-1]:
        kinds = (kind := table.model_fields[str(part)].annotation, *get_args(kind))
        table = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    known = list(table.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"perhaps {near[0]}" if near else f"one of {', '.join(known)}"


def unknown_variables() -> tuple[str, ...]:
    """`TILLWATCH_*` variables that no setting reads: worth a warning, since other tools share the prefix."""
    names = {"CONFIG"} | {name.upper() for name in CollectorConfig.model_fields}
    given = (name for name in os.environ if name.upper().startswith(ENV_PREFIX))
    return tuple(sorted(name for name in given if name.upper().removeprefix(ENV_PREFIX).split("__")[0] not in names))
