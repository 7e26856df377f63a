from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tasks.ingest.pattern import AddressPattern
from tasks.ingest.schedule import Crontab

DAY = datetime.fromisoformat("2025-01-15")
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("odps://p/t/ds={date}", "odps://p/t/ds=20250115"),
        ("odps://p/t/ds={yesterday:%Y-%m-%d}", "odps://p/t/ds=2025-01-15"),
        ("/in/year={date:%Y}/month={date:%m}/day={date:%d}/v.jsonl", "/in/year=2025/month=01/day=15/v.jsonl"),
        ("/in/ds={date}/ds={date}.csv", "/in/ds=20250115/ds=20250115.csv"),
        ("/in/{date:%Y.%j}.csv", "/in/2025.015.csv"),
    ],
)
def test_a_pattern_gives_the_address_of_a_day_and_reads_the_day_back(text: str, address: str) -> None:
    pattern = AddressPattern.parse(text)
    assert pattern.at(DAY) == address
    stars = tuple(DAY.strftime(format_) for format_ in pattern.formats)
    assert pattern.moment_of(stars) == DAY
    assert pattern.wildcard.count("*") == len(stars)


def test_hours_are_partitions_of_their_own() -> None:
    pattern = AddressPattern.parse("odps://p/t/ds={date}/hh={date:%H}")
    assert pattern.has_hours
    assert pattern.moment_of(("20250115", "03")) == datetime.fromisoformat("2025-01-15T03:00")


@pytest.mark.parametrize("stars", [("2025011",), ("20250132",), ("2025-01-15",), ("latest",), ("",)])
def test_a_value_that_is_no_day_of_the_patterns_form_gives_none(stars: tuple[str, ...]) -> None:
    assert AddressPattern.parse("odps://p/t/ds={date}").moment_of(stars) is None


def test_two_dates_that_differ_give_none() -> None:
    assert AddressPattern.parse("/in/ds={date}/ds={date}.csv").moment_of(("20250115", "20250116")) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("odps://p/t/ds=20250115", "names no day"),
        ("odps://p/t/ds={today}", "names no day"),
        ("odps://p/t/ds={date}/x={oops}", "brace"),
        ("odps://p/*/ds={date}", r"no \*"),
        ("odps://p/t/ds={date}/d2={yesterday}", "mixes"),
        ("odps://p/t/ds={date:%Y%m}", "the day"),
        ("odps://p/t/ds={date:%Y%m%d%M}", "%M"),
        ("odps://p/t/ds={date:%Y%m%d%}", "%"),
        ("/in/{date:%Y/%m/%d}.csv", "slash"),
        ("/in/{date:%Y%m%d}-{date:%d}.csv", "%d in two"),
    ],
)
def test_an_invalid_pattern_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AddressPattern.parse(text)


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("15 2 * * *", "2025-01-14T18:14", "2025-01-14T18:15"),  # 02:15 in Shanghai
        ("15 2 * * *", "2025-01-14T18:15", "2025-01-15T18:15"),
        ("*/20 * * * *", "2025-01-14T18:41", "2025-01-14T19:00"),
        ("0 0 29 2 *", "2025-01-01T00:00", "2028-02-28T16:00"),
        ("0 9 * * 1", "2025-01-15T00:00", "2025-01-20T01:00"),  # a Monday
    ],
)
def test_a_crontab_is_read_in_the_sources_time_zone(text: str, after: str, expected: str) -> None:
    found = Crontab.parse(text).next_after(datetime.fromisoformat(after).replace(tzinfo=UTC), SHANGHAI)
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_an_hour_that_the_clock_skips_or_repeats_is_taken_once() -> None:
    berlin, crontab = ZoneInfo("Europe/Berlin"), Crontab.parse("30 2 * * *")
    instants, moment = [], datetime(2025, 3, 29, tzinfo=UTC)
    for _ in range(3):
        moment = crontab.next_after(moment, berlin) or moment
        instants.append(moment)
    assert [instant.date().isoformat() for instant in instants] == ["2025-03-29", "2025-03-30", "2025-03-31"]
    first = crontab.next_after(datetime(2025, 10, 25, 12, tzinfo=UTC), berlin)
    assert first == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert crontab.next_after(datetime(2025, 10, 26, 0, 30, tzinfo=UTC), berlin) == datetime(
        2025, 10, 27, 1, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("text", ["15 2 * *", "61 * * * *", "x * * * *", "0 0 30 2 *", "* * 0 * *", ""])
def test_an_invalid_crontab_or_one_that_never_matches_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"takes five fields|has a field|never matches"):
        Crontab.parse(text)
