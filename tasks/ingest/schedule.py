"""Crontab schedules of sources, in a source's own time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from celery.schedules import ParseException, crontab_parser

MOST_DAYS = 366 * 8  # 29 February may be eight years away


@dataclass(frozen=True, slots=True)
class Crontab:
    """Minutes, hours, days of the month, months and days of the week (0 is Sunday); all must match, as in beat."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``minute hour day month weekday``; ``ValueError`` says what is wrong."""
        words = text.split()
        if len(words) != 5:
            raise ValueError("takes five fields: minute hour day month weekday, for example '15 2 * * *'")
        ranges = ((60, 0), (24, 0), (31, 1), (12, 1), (7, 0))
        fields = [_expand(word, count, first) for word, (count, first) in zip(words, ranges, strict=True)]
        parsed = cls(*fields)
        if parsed.next_after(datetime(2024, 1, 1, tzinfo=UTC), ZoneInfo("UTC")) is None:
            raise ValueError("never matches: no month has such a day")
        return parsed

    def next_after(self, moment: datetime, zone: ZoneInfo) -> datetime | None:
        """Return the first instant (UTC) after ``moment``. An hour that the clock skips or repeats counts once."""
        local = moment.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
        for number in range(MOST_DAYS):
            day = local.date() + timedelta(days=number)
            if day.day not in self.days or day.month not in self.months or day.isoweekday() % 7 not in self.weekdays:
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    instant = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
                    if instant > moment:
                        return instant
        return None


def _expand(word: str, count: int, first: int) -> frozenset[int]:
    try:
        numbers = frozenset(crontab_parser(count, first).parse(word))
    except (ParseException, ValueError) as error:
        raise ValueError(f"has a field {word!r} that is no crontab: {error}") from None
    if outside := sorted(number for number in numbers if not first <= number < first + count):
        raise ValueError(f"has a field {word!r} with {outside[0]}: {first} to {first + count - 1} are possible")
    return numbers
