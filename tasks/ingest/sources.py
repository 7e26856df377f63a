"""The declared sources: a TOML file, read strictly, with every mistake in one message."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from storage.errors import UsageError
from storage.uri import TableUrl
from tasks.ingest.pattern import AddressPattern
from tasks.ingest.schedule import Crontab

DEFAULT_EVERY_MINUTES = 10.0
DEFAULT_SETTLED_SECONDS = 900.0
SAMPLE = datetime(2025, 1, 15)  # noqa: DTZ001 - a naive time, to build an address and check it

Order = Literal["oldest", "newest"]


def _pattern(value: Any) -> AddressPattern:
    if not isinstance(value, str):
        raise ValueError("takes a string")  # noqa: TRY004 -- pydantic reports ValueErrors
    return AddressPattern.parse(value)


def parse_day(value: Any) -> Any:
    """Read ``20250115`` or ``2025-01-15``; return a date as it is."""
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("takes a day: 2025-01-15 or 20250115") from None


Pattern = Annotated[AddressPattern, BeforeValidator(_pattern)]
Day = Annotated[date, BeforeValidator(parse_day)]


class IngestSource(BaseModel):
    """A declared source. docs/ingestion.md documents the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    tables: Pattern
    outputs: Pattern
    start: Day
    timezone: str = "UTC"
    order: Order = "oldest"
    crontab: str | None = None
    every_minutes: Annotated[float, Field(gt=0, le=60 * 24 * 366)] | None = None
    max_runs: Annotated[int, Field(ge=1, le=1000)] = 1
    settled_seconds: Annotated[float, Field(ge=0)] | None = None
    done_marker: Pattern | None = None
    empty: Literal["wait", "skip"] = "wait"
    filters: dict[str, bool] = Field(default_factory=dict, validate_default=True)

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("is not a time zone of this machine; write one such as Asia/Shanghai") from None
        return value

    @field_validator("tables", "outputs", "done_marker")
    @classmethod
    def _check_address(cls, value: AddressPattern | None, info: ValidationInfo) -> AddressPattern | None:
        if value is None or info.field_name == "done_marker":  # a marker may be any file
            if value is not None and "://" not in value.text and not value.text.startswith("/"):
                raise ValueError("takes an absolute path: the fleet's processes have other working directories")
            return value
        try:
            url = TableUrl.parse(value.at(SAMPLE))
        except UsageError as error:
            raise ValueError(str(error)) from None
        if url.is_relative:
            raise ValueError("takes an absolute path: the fleet's processes have other working directories")
        if info.field_name == "outputs" and url.scheme == "file":
            raise ValueError("cannot be a file: write to a table (sqlite:////FILE.db#TABLE/ds={date})")
        return value

    @field_validator("outputs", "done_marker")
    @classmethod
    def _check_grain(cls, value: AddressPattern | None, info: ValidationInfo) -> AddressPattern | None:
        tables = info.data.get("tables")
        if value is not None and isinstance(tables, AddressPattern) and tables.has_hours and not value.has_hours:
            raise ValueError("has no %H, but tables has it: the hours of a day would share one partition")
        return value

    @field_validator("crontab")
    @classmethod
    def _check_crontab(cls, value: str | None) -> str | None:
        if value is not None:
            Crontab.parse(value)
        return value

    @field_validator("every_minutes")
    @classmethod
    def _check_one_schedule(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("crontab") is not None:
            raise ValueError("is set beside crontab: keep one of them")
        return value

    @field_validator("filters")
    @classmethod
    def _check_filters(cls, value: dict[str, bool], info: ValidationInfo) -> dict[str, bool]:
        """Check the names against the manifest's switches; a switch that is not named is on."""
        switches: Collection[str] = info.context or value
        if unknown := sorted(set(value) - set(switches)):
            raise ValueError(f"{', '.join(unknown)}: not a switch of the manifest, which has {', '.join(switches)}")
        if switches and not any(value.get(switch, True) for switch in switches):
            raise ValueError("switches every filter off: leave one on")
        return {switch: value.get(switch, True) for switch in switches}

    @property
    def zone(self) -> ZoneInfo:
        """Return the time zone of its days and of its crontab."""
        return ZoneInfo(self.timezone)

    @property
    def switches(self) -> frozenset[str]:
        """Return the filters that are on, as in ``tamis sift``: all except those that are switched off."""
        return frozenset(switch for switch, is_on in self.filters.items() if is_on)

    @property
    def schedule(self) -> str:
        """Return the schedule in words."""
        if self.crontab is not None:
            return f"{self.crontab} {self.timezone}"
        return f"every {self.every_minutes or DEFAULT_EVERY_MINUTES:g} min"

    @property
    def settle_seconds(self) -> float:
        """Return for how long a complete partition must be unchanged; 0 with a marker unless it is set as well."""
        if self.settled_seconds is not None:
            return self.settled_seconds
        return 0.0 if self.done_marker is not None else DEFAULT_SETTLED_SECONDS

    def next_due(self, after: datetime) -> datetime:
        """Return the next time of the schedule after ``after``."""
        if self.crontab is not None:
            found = Crontab.parse(self.crontab).next_after(after, self.zone)
            return found or datetime.max.replace(tzinfo=UTC)
        return after + timedelta(minutes=self.every_minutes or DEFAULT_EVERY_MINUTES)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    source: list[IngestSource] = Field(default_factory=list)


def load_sources(path: Path, switches: Collection[str]) -> tuple[IngestSource, ...]:
    """Read the file and check its filters against ``switches``, those of the manifest.

    Raises:
        UsageError: names the file and lists every mistake with its key, its value and the remedy.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"sources file {path} cannot be read ({error}): correct TAMIS_SOURCES") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    problems = _find_shared(content)
    try:
        parsed = _File.model_validate(content, context=switches)
    except ValidationError as error:
        problems += [_describe(content, detail) for detail in error.errors()]
    if problems:
        raise UsageError(f"{path}: {'; '.join(problems)}")
    return tuple(parsed.source)


def _named(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the sources in the order of the file, each with its name in messages."""
    sources = content.get("source")
    listed = sources if isinstance(sources, list) else []
    return [
        (f"source {number} ({source.get('name', 'without a name')})", source)
        for number, source in enumerate(listed, 1)
        if isinstance(source, dict)
    ]


def _find_shared(content: Mapping[str, Any]) -> list[str]:
    """Find names and outputs that two sources share."""
    problems: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    for title, source in _named(content):
        for key in ("name", "outputs"):
            value = source.get(key)
            if isinstance(value, str) and (key, value) in seen:
                problems.append(f"{title} {key} = {value!r}: {seen[key, value]} has the same; choose another")
            elif isinstance(value, str):
                seen[key, value] = title
    return problems


def _describe(content: Mapping[str, Any], detail: Any) -> str:
    match detail["loc"]:
        case ("source", int(index), *keys):
            names = _named(content)
            title = names[index][0] if index < len(names) else f"source {index + 1}"
            where = " ".join((title, ".".join(str(key) for key in keys if key != "[key]"))).rstrip()
        case keys:
            where = ".".join(map(str, keys))
    if detail["type"] == "missing":
        return f"{where} is missing"
    if detail["type"] == "extra_forbidden":
        known = _File.model_fields if len(detail["loc"]) == 1 else IngestSource.model_fields
        return f"{where} is not a key of a source; there are {', '.join(known)}"
    return f"{where} = {detail['input']!r}: {detail['msg'].removeprefix('Value error, ')}"
