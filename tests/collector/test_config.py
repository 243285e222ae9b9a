import re
from pathlib import Path
from typing import Any

import pytest

from tillwatch_collector import config
from tillwatch_collector.config import CollectorConfig, ConfigError

EXAMPLE = Path(__file__).parents[2] / "collector" / "collector.example.toml"


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TILLWATCH_DATA_DIR", "TILLWATCH_CONFIG", "TILLWATCH_WEB__PORT"):
        monkeypatch.delenv(name, raising=False)


def loaded(tmp_path: Path, text: str) -> CollectorConfig:
    path = tmp_path / "collector.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def test_without_a_file_everything_has_a_default_and_no_secret_is_one() -> None:
    used = config.load(None)
    assert used.web.host == "127.0.0.1"
    assert used.broker is None
    assert used.database_url_used == "sqlite:///tillwatch-data/collector.db"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "colour: unknown key; expected one of data_dir, database_url"),
        ("[web]\nprt = 1", "web.prt: unknown key; expected perhaps port"),
        ("[broker]\nhost = 'b'\npassword = 'hunter2'", "broker.password: unknown key; expected perhaps password_file"),
        ("web = 1", "web: expected a table, got 1"),
        ("[judge]\npolicy_file = 1", "judge.policy_file: expected a path, got 1"),
        ("[sla]\nfile = 1", "sla.file: expected a path, got 1"),
        ("database_url = ''", "database_url: expected some text"),
        ("[web]\nport = 'x'", "web.port: expected a valid integer"),
        ("[web]\nport = 70000", "web.port: expected less than or equal to 65535, got 70000"),
        ("[judge]\ntick_s = nan", "judge.tick_s: expected a finite number"),
        (
            "process = 'collector'",
            "process: expected a name with a dot such as collector.1",
        ),  # no dot: a terminal could bear it
        ("[broker]\nport = 1", "broker.host: expected a value, got none"),
        ("[broker]\nhost = 'b'\ncert_file = 'c'", "broker: expected cert_file and key_file together"),
        ("[broker]\nhost = 'b'\ncert_file = 'c'\nkey_file = 'k'", "broker: expected a ca_file beside cert_file"),
        ("[broker]\nhost = 'b'\npassword_file = 'p'", "broker: expected a username beside password_file"),
        (
            "[broker]\nhost = 'b'\n[embedded_broker]\nport = 1",
            "expected one of [broker] and [embedded_broker], got both",
        ),
        ("[web]\ntls_cert_file = 'c'", "web: expected tls_cert_file and tls_key_file together"),
        ("data_dir = ", "expected TOML"),
        ("[history]\nsamples_days = 0", "history.samples_days: expected greater than or equal to 1, got 0"),
        ("[history]\nhourly_days = 7", "history: expected samples_days <= hourly_days <= daily_days"),
        ("[retention]\nevent_days = 7", "retention.event_days: unknown key; expected perhaps events_days"),
    ],
)
def test_an_error_names_the_key_what_was_expected_and_what_came(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert said in str(caught.value)
    assert "collector.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable file, got No such file"):
        config.load(tmp_path / "nowhere.toml")


def test_a_file_in_another_encoding_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"data_dir = '\xff'")
    with pytest.raises(ConfigError, match="expected UTF-8"):
        config.load(tmp_path / "c.toml")


@pytest.mark.parametrize(
    ("web", "allowed"),
    [
        ("host = '127.0.0.1'", True),
        ("host = '::1'", True),
        ("host = 'localhost'", True),
        ("host = '0.0.0.0'", False),
        ("host = '::'", False),
        ("host = '192.0.2.1'", False),
        ("host = 'collector.example.org'", False),
        ("host = '0.0.0.0'\nbehind_proxy = true", True),  # the operator has said it
        ("host = '0.0.0.0'\ntls_cert_file = 'c'\ntls_key_file = 'k'", True),
    ],
)
def test_beyond_loopback_it_wants_tls_or_a_stated_proxy(tmp_path: Path, web: str, allowed: bool) -> None:
    if allowed:
        loaded(tmp_path, f"[web]\n{web}")
        return
    with pytest.raises(ConfigError, match="expected a loopback host, or tls_cert_file"):
        loaded(tmp_path, f"[web]\n{web}")


def test_the_environment_stands_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLWATCH_WEB__PORT", "0")
    monkeypatch.setenv("TILLWATCH_DATA_DIR", "/elsewhere")
    used = loaded(tmp_path, "data_dir = '/here'\n[web]\nport = 9000\nallowed_hosts = ['a']")
    assert (used.data_dir, used.web.port, used.web.allowed_hosts) == (Path("/elsewhere"), 0, ("a",))


def test_an_unknown_key_of_a_table_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLWATCH_WEB__PRT", "1")
    with pytest.raises(ConfigError, match=r"web\.prt: unknown key; expected perhaps port"):
        config.load(None)


def test_a_table_that_is_not_json_in_the_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLWATCH_WEB", "nonsense")
    with pytest.raises(ConfigError, match="environment TILLWATCH_"):
        config.load(None)


def test_a_variable_that_no_setting_reads_is_told_and_that_of_the_file_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLWATCH_WEBB__PORT", "1")
    monkeypatch.setenv("TILLWATCH_CONFIG", "c.toml")
    monkeypatch.setenv("TILLWATCH_WEB__PORT", "1")
    assert "TILLWATCH_WEBB__PORT" in config.unknown_variables()
    assert not {"TILLWATCH_CONFIG", "TILLWATCH_WEB__PORT"} & set(config.unknown_variables())


def test_an_error_about_the_database_does_not_repeat_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "database_url = ['postgresql://u:hunter2@h/d']")
    assert "hunter2" not in str(caught.value)


def test_the_port_of_a_broker_follows_from_tls(tmp_path: Path) -> None:
    plain = loaded(tmp_path, "[broker]\nhost = 'b'").broker
    over_tls = loaded(tmp_path, "[broker]\nhost = 'b'\nca_file = 'ca'").broker
    assert plain is not None
    assert over_tls is not None
    assert (plain.port_used, over_tls.port_used) == (1883, 8883)


def test_the_example_loads_and_names_every_setting() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert config.load(EXAMPLE).data_dir == Path("/var/lib/tillwatch")
    missing = [key for key in _keys(CollectorConfig) if f"{key} = " not in text and f"[{key}]" not in text]
    assert missing == []


def test_the_examples_defaults_are_the_defaults(tmp_path: Path) -> None:
    told = [line.removeprefix("# ").partition("  #")[0] for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]
    settings = [line for line in told[told.index("[judge]") :] if re.match(r"\[|\w+ = ", line)]
    used = loaded(tmp_path, "\n".join(settings).replace("policy_file", "# policy_file"))
    default = config.load(None)
    assert (used.judge, used.history, used.retention) == (default.judge, default.history, default.retention)


def _keys(model: Any) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(name)
        inner = next(
            (
                kind
                for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
                if hasattr(kind, "model_fields")
            ),
            None,
        )
        keys += _keys(inner) if inner else []
    return keys
