from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from inference.manifest import load_manifest
from storage.errors import UsageError
from tasks.ingest.sources import IngestSource, load_sources

SWITCHES = load_manifest("tiny").switches
EXAMPLE = Path(__file__).parents[4] / "deploy" / "sources.example.toml"
GOOD = """
[[source]]
name = "clips"
tables = "odps://p/videos/ds={yesterday}"
outputs = "odps://p/sifted/ds={yesterday}"
start = 2025-01-01
"""


def read(tmp_path: Path, text: str) -> tuple[IngestSource, ...]:
    path = tmp_path / "sources.toml"
    path.write_text(text)
    return load_sources(path, SWITCHES)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path / "sources.toml") in message
    assert "\n" not in message
    return message


def test_keys_that_are_left_out_have_derefusal(tmp_path: Path) -> None:
    (source,) = read(tmp_path, GOOD)
    assert (source.order, source.max_runs, source.empty, source.timezone) == ("oldest", 1, "wait", "UTC")
    assert source.switches == frozenset(SWITCHES)
    assert source.settle_seconds == 900
    now = datetime(2025, 1, 15, tzinfo=UTC)
    assert source.next_due(now) == now + timedelta(minutes=10)


def test_with_a_marker_a_partition_need_not_settle_unless_settled_seconds_is_set(tmp_path: Path) -> None:
    marker = 'done_marker = "/data/{yesterday}/_SUCCESS"\n'
    assert read(tmp_path, GOOD + marker)[0].settle_seconds == 0
    assert read(tmp_path, GOOD + marker + "settled_seconds = 60\n")[0].settle_seconds == 60


def test_filters_are_on_unless_switched_off_as_in_sift(tmp_path: Path) -> None:
    (source,) = read(tmp_path, GOOD + "[source.filters]\nvfx_enable = false\n")
    assert source.switches == frozenset(SWITCHES) - {"vfx_enable"}


def test_a_day_may_be_a_toml_date_or_text(tmp_path: Path) -> None:
    for written in ('"20250101"', '"2025-01-01"', "2025-01-01"):
        assert read(tmp_path, GOOD.replace("2025-01-01", written))[0].start == date(2025, 1, 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('timezone = "Mars/Olympus"', ["timezone = 'Mars/Olympus'", "Asia/Shanghai"]),
        ('order = "random"', ["order = 'random'", "'oldest'"]),
        ('crontab = "61 * * * *"', ["crontab = '61 * * * *'", "61"]),
        ('crontab = "0 1 * * *"\nevery_minutes = 5', ["every_minutes = 5", "crontab"]),
        ("max_runs = 0", ["max_runs = 0"]),
        ("max_runs = true", ["max_runs = True"]),
        ('settled_seconds = "60"', ["settled_seconds = '60'"]),
        ('done_marker = "_SUCCESS/{yesterday}"', ["done_marker", "absolute"]),
        ('empty = "run"', ["empty = 'run'", "'skip'"]),
        ("filters = { vfx_enable = 1 }", ["filters.vfx_enable = 1"]),
        ("filters = { vfx = true }", ["filters = {'vfx': True}", "vfx_enable"]),
        (f"filters = {{ {', '.join(f'{name} = false' for name in SWITCHES)} }}", ["leave one on"]),
        ("strat = 2025-01-01", ["strat is not a key", "start"]),
    ],
)
def test_a_mistake_is_named_with_its_source_its_key_and_its_value(
    tmp_path: Path, line: str, expected: list[str]
) -> None:
    message = refusal(tmp_path, GOOD + line + "\n")
    assert "source 1 (clips)" in message
    assert all(part in message for part in expected), message


@pytest.mark.parametrize(
    ("was", "becomes", "expected"),
    [
        ("odps://p/sifted/ds={yesterday}", "out.jsonl", "outputs"),
        ("odps://p/sifted/ds={yesterday}", "/out/{yesterday}.jsonl", "cannot be a file"),
        ("odps://p/sifted/ds={yesterday}", "sqlite:///out.db#t/ds={yesterday}", "absolute"),
        ("odps://p/videos/ds={yesterday}", "in/{yesterday}.jsonl", "absolute"),
        ("odps://p/videos/ds={yesterday}", "odps://p/videos/ds={yesterday}/hh={yesterday:%H}", "has no %H"),
        ("odps://p/videos/ds={yesterday}", "mysql://p/videos/ds={yesterday}", "mysql"),
        ("start = 2025-01-01", "", "start is missing"),
        ("2025-01-01", '"soon"', "start = 'soon'"),
        ('"clips"', '"my clips"', "name = 'my clips'"),
    ],
)
def test_an_address_that_cannot_work_is_refused(tmp_path: Path, was: str, becomes: str, expected: str) -> None:
    assert expected in refusal(tmp_path, GOOD.replace(was, becomes))


def test_every_mistake_of_every_source_is_reported_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD + 'order = "x"\nmax_runs = 0\n' + GOOD + 'empty = "x"\n')
    assert all(
        part in message for part in ("source 1 (clips) order", "source 1 (clips) max_runs", "source 2 (clips) empty")
    )
    assert "source 2 (clips) name = 'clips': source 1 (clips) has the same" in message
    assert "source 2 (clips) outputs" in message


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    assert "not TOML" in refusal(tmp_path, "[[source")
    assert "is not a key" in refusal(tmp_path, "sources = []")
    with pytest.raises(UsageError, match="TAMIS_SOURCES"):
        load_sources(tmp_path / "absent.toml", SWITCHES)


def test_the_shipped_example_is_valid_and_shows_every_key() -> None:
    sources = load_sources(EXAMPLE, SWITCHES)
    assert len(sources) >= 2
    text = EXAMPLE.read_text()
    assert all(f"{key} = " in text or f"[source.{key}]" in text for key in IngestSource.model_fields)
