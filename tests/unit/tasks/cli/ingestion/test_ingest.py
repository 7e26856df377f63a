"""`tamis ingest` as a person uses it: the tables, and each mistake in one line with exit status 2."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from storage.ledger import Ledger
from tasks.cli.ingestion import ingest as module
from tasks.ingest.journal import IngestJournal
from tasks.ingest.lease import leased
from tasks.ingest.tick import utc_now
from tasks.settings import Settings
from tests.unit.tasks.ingest.test_check import SOURCES, put, using_broker
from tests.valkey import ValkeyServer

Tamis = Callable[..., Result]


@pytest.fixture
def tamis(
    tmp_path: Path, server: ValkeyServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tamis]:
    (tmp_path / "in").mkdir()
    (tmp_path / "sources.toml").write_text(SOURCES.format(root=tmp_path))
    chosen = Settings.of(state_dir=tmp_path, node="n1", broker_url=server.url, sources=tmp_path / "sources.toml")
    monkeypatch.setattr(module, "settings", lambda: chosen)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(module.ingest, list(arguments), env={"COLUMNS": "200"})

    with using_broker(server.url):
        yield run


def error_line(result: Result) -> str:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("tamis: ")]
    assert len(lines) == 1, result.output
    return lines[0]


def words(result: Result, exit_code: int = 0) -> str:
    assert result.exit_code == exit_code, result.output
    return " ".join(result.stdout.replace("│", " ").split())


def test_a_dry_run_says_what_would_start_and_why_the_rest_would_not(
    tamis: Tamis, tmp_path: Path, client: redis.Redis
) -> None:
    put(tmp_path, "20250110")
    put(tmp_path, "20250111")
    put(tmp_path, "20250112", rows=0)
    (tmp_path / "nowhere").mkdir()
    shown = words(tamis("--dry-run"))
    assert "clips 2025-01-10 would start" in shown
    assert "max_runs = 1" in shown
    assert "it has no rows" in shown
    assert Ledger(client).runs() == []


def test_run_starts_now_and_list_shows_it(tamis: Tamis, tmp_path: Path, client: redis.Redis) -> None:
    put(tmp_path, "20250110")
    assert "clips 2025-01-10 started" in words(tamis("run", "clips"))
    (run,) = Ledger(client).runs()
    listed = words(tamis("list"))
    assert "clips running every 10 min" in listed
    assert run.run_id in listed
    assert f"2025-01-10 running {run.run_id} 3" in words(tamis("list", "clips"))


def test_a_cancelled_run_makes_room_for_the_next_and_is_not_started_again(
    tamis: Tamis, tmp_path: Path, client: redis.Redis
) -> None:
    put(tmp_path, "20250110")
    put(tmp_path, "20250111")
    (tmp_path / "nowhere").mkdir()
    assert "2025-01-11 waiting" in words(tamis("run", "clips"))
    (first,) = Ledger(client).runs()
    Ledger(client).orders.cancel(first.run_id)
    assert "clips 2025-01-11 started" in words(tamis("run", "clips"))
    assert f"2025-01-10 run {first.run_id} was cancelled" in tamis("list").output
    assert [run.state for run in Ledger(client).runs()] == ["open", "cancelled"]


def test_every_sub_command_answers_in_json(tamis: Tamis, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    (tmp_path / "nowhere").mkdir()

    def document(*arguments: str) -> dict[str, Any]:
        result = tamis(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)  # type: ignore[no-any-return]

    (planned,) = document("--dry-run")["decisions"]
    assert (planned["source"], planned["partition"], planned["rows"]) == ("clips", "2025-01-10", "3")
    assert document("run", "clips")["decisions"][0]["run"] == planned["run"]
    assert [one["source"] for one in document("list")["sources"]] == ["broken", "clips"]
    assert [one["partition"] for one in document("list", "clips")["partitions"]] == ["2025-01-10"]
    assert document("pause", "clips")["source"] == document("resume", "clips")["source"] == "clips"
    assert "2025-01-01" in document("backfill", "clips", "--from", "20250101", "--to", "20250102")["done"]


def test_a_source_that_fails_is_reported_and_the_others_are_checked(
    tamis: Tamis, tmp_path: Path, client: redis.Redis
) -> None:
    put(tmp_path, "20250110")
    line = error_line(tamis("run"))
    assert "source broken" in line
    assert "nowhere" in line
    assert len(Ledger(client).runs()) == 1
    listed = words(tamis("list"))
    assert "broken failing" in listed
    assert "broken: cannot be checked" in listed


def test_a_failed_partition_and_skipped_ticks_are_listed(tamis: Tamis, tmp_path: Path, client: redis.Redis) -> None:
    (tmp_path / "in" / "ds=20250110.jsonl").write_text('{"video_id": "v"}\n')
    tamis("run", "clips")
    IngestJournal(client).note_skip("clips", "another check was under way (n2)", utc_now())
    listed = words(tamis("list"))
    assert "clips 2025-01-10 failed (1 times)" in listed
    assert "oss_bucket" in listed
    assert "1 ticks skipped" in listed
    assert "(n2)" in listed


def test_pausing_and_resuming(tamis: Tamis, tmp_path: Path) -> None:
    put(tmp_path, "20250110")
    assert "resume clips" in words(tamis("pause", "clips"))
    assert "clips paused" in words(tamis("list"))
    assert "is paused" in error_line(tamis("run", "clips"))
    assert "the source is paused" in words(tamis("run", "clips", "--dry-run"))
    assert "within 5 s" in words(tamis("resume", "clips"))
    assert "is not paused" in error_line(tamis("resume", "clips"))
    assert "started" in words(tamis("run", "clips"))


def test_a_backfill_is_noted_and_shown(tamis: Tamis, tmp_path: Path) -> None:
    put(tmp_path, "20241231")
    asked = tamis("backfill", "clips", "--from", "20241201", "--to", "2024-12-31", "--order", "newest")
    assert "2024-12-01 to 2024-12-31, newest first" in words(asked)
    assert "backfill 2024-12-01 to 2024-12-31" in words(tamis("list"))
    assert "clips 2024-12-31 started" in words(tamis("run", "clips"))


def test_a_check_that_is_under_way_is_not_repeated(tamis: Tamis, client: redis.Redis) -> None:
    with leased(IngestJournal(client), "clips", "n2", utc_now()):
        assert "n2, pid" in error_line(tamis("run", "clips"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["pause", "absent"], "sources are: broken, clips"),
        (["run", "absent"], "'absent'"),
        (["list", "absent"], "'absent'"),
        (["backfill", "clips", "--from", "20250131", "--to", "20250101"], "exchange them"),
        (["--dry-run", "list"], "--dry-run"),
    ],
)
def test_a_mistake_is_one_line(tamis: Tamis, arguments: list[str], named: str) -> None:
    assert named in error_line(tamis(*arguments))


def test_an_invalid_day_is_named(tamis: Tamis) -> None:
    answer = tamis("backfill", "clips", "--from", "soon", "--to", "20250101")
    assert answer.exit_code == 2
    assert "'soon'" in answer.stderr


def test_a_wrong_file_gives_one_line_with_every_mistake(tamis: Tamis, tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text("[[source]]\nname = 'x y'\n")
    line = error_line(tamis("list"))
    assert "name = 'x y'" in line
    assert "tables is missing" in line


def test_without_a_file_the_setting_is_named(tamis: Tamis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "settings", lambda: Settings.of(state_dir=tmp_path))
    assert "TAMIS_SOURCES" in error_line(tamis("list"))


def test_without_a_broker_the_remedy_is_named(tamis: Tamis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Settings.of(state_dir=tmp_path, broker_url="redis://127.0.0.1:1/0", sources=tmp_path / "sources.toml")
    monkeypatch.setattr(module, "settings", lambda: lost)
    assert "tamis up" in error_line(tamis("list"))
    assert os.environ.get("TAMIS_BROKER_URL") is None


def test_without_a_sub_command_the_help_is_shown(tamis: Tamis) -> None:
    shown = words(tamis())
    assert all(name in shown for name in ("list", "run", "pause", "resume", "backfill", "--dry-run"))
