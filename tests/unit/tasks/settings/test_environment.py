from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.resources.redis import ledger_url
from tasks.settings import Settings, SettingsError

ROOT = Path(__file__).parents[4]


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_env({"PATH": "/bin"})
    assert settings.broker.is_embedded
    assert settings.flow.shard_rows == 256
    assert settings.spool.limit_bytes == 180 * 1024**3
    assert (settings.flow.max_waiting_videos, settings.flow.max_downloads, settings.flow.max_videos) == (16, 6, 6)
    assert settings.spool_root == settings.node.state_dir / "spool"


def test_paths_become_absolute() -> None:
    settings = Settings.from_env({"TAMIS_STATE_DIR": "some/dir"})
    assert settings.node.state_dir == Path.cwd() / "some" / "dir"
    assert Settings.from_env({}).node.state_dir == Path.cwd() / ".tamis"


def test_an_empty_value_means_unset() -> None:
    assert Settings.from_env({"TAMIS_BROKER_URL": ""}).broker.is_embedded


def test_every_mistake_is_reported_at_once_with_its_value() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"TAMIS_SHARD_ROWS": "many", "TAMIS_DEVICE": "tpu", "TAMIS_SHARDROWS": "1"})
    message = str(caught.value)
    assert "TAMIS_SHARD_ROWS='many'" in message
    assert "TAMIS_DEVICE='tpu'" in message
    assert "TAMIS_SHARDROWS is not a setting of tamis: did you mean TAMIS_SHARD_ROWS?" in message


def test_a_password_in_a_url_is_never_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"TAMIS_BROKER_URL": "http://user:hunter2@host"})
    assert "hunter2" not in str(caught.value)
    settings = Settings.from_env({"TAMIS_BROKER_URL": "redis://user:hunter2@host/0"})
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("broker", "ledger", "expected"),
    [
        ("", "", (False, True, "unix:///state/broker.sock")),
        ("redis://host/0", "", (False, False, "redis://host/0")),
        ("redis+socket:///run/redis.sock", "", (False, False, "unix:///run/redis.sock")),
        ("amqp://user:pass@host:5672/tamis", "", (True, True, "unix:///state/broker.sock")),
        ("amqps://user:pass@host:5671/tamis", "redis://host/1", (True, False, "redis://host/1")),
    ],
)
def test_the_broker_follows_from_its_url_and_the_ledger_is_always_a_redis(
    broker: str, ledger: str, expected: tuple[bool, bool, str]
) -> None:
    settings = Settings.from_env({"TAMIS_BROKER_URL": broker, "TAMIS_LEDGER_URL": ledger, "TAMIS_STATE_DIR": "/state"})
    assert (settings.broker.is_rabbitmq, settings.broker.needs_embedded_server, ledger_url(settings)) == expected


def test_a_rabbitmq_ledger_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"TAMIS_LEDGER_URL.*takes a Redis URL"):
        Settings.from_env({"TAMIS_LEDGER_URL": "amqp://host/"})


@pytest.mark.parametrize("node", ["", "a b", "x" * 65, "node.with.dots", "../x"])
def test_a_node_name_that_cannot_name_a_queue_is_refused(node: str) -> None:
    if node == "":
        assert Settings.from_env({"TAMIS_NODE": node}).node.name  # unset: the host's name
        return
    with pytest.raises(SettingsError, match="TAMIS_NODE"):
        Settings.from_env({"TAMIS_NODE": node})


def test_buckets_are_split_at_commas() -> None:
    assert Settings.from_env({"TAMIS_OSS_BUCKETS": "a1, b2,"}).oss.buckets == frozenset({"a1", "b2"})


@pytest.mark.parametrize("name", ["TAMIS_SHARD_ROWS", "TAMIS_DISK_LIMIT_BYTES", "TAMIS_MAX_ATTEMPTS"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "nan"])
def test_counts_must_be_positive_whole_numbers(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_the_settings_page_is_up_to_date() -> None:
    answer = subprocess.run(
        [sys.executable, "docs/render_settings.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_traces_without_the_extra_are_refused_with_its_name() -> None:
    lines = (
        "import sys",
        "sys.modules['opentelemetry'] = None",  # imports then fail as without the extra
        "from tasks.settings import Settings",
        "Settings.from_env({'TAMIS_TRACING': 'otlp'})",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "TAMIS_TRACING='otlp': needs the otel extra: pip install 'tamis[otel]'" in done.stderr
