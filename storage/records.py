"""Input and result rows: the only file that maps column names to Python names."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Self

from storage import json_text
from storage.errors import BadRow, Unwritable, UsageError
from storage.json_text import Scalar

Record = dict[str, Scalar]

INPUT_COLUMNS: Final = ("video_id", "oss_bucket", "video_path", "video_tag", "info")
OUTPUT_COLUMNS: Final = ("video_id", "oss_bucket", "video_oss_url", "video_tag", "info", "result_info")
FLAT_COLUMNS: Final = (  # written beside the output columns when a run asks for them (storage/tables/flat.py)
    *("run", "status", "error_code", "keep", "drop_reason", "decided_by", "video_duration_seconds", "video_width"),
    *("video_height", "video_fps", "video_codec", "video_size_bytes"),
)
RESULT_INFO: Final = "result_info"
RUN_ID: Final = "run_id"  # keys of result_info; partition, run and ordinal together identify a row of the output table
ORDINAL: Final = "ordinal"
GENERATION: Final = "generation"  # key of result_info in rows of a retry; the higher one is newer
OK: Final = "ok"
MAX_MESSAGE_CHARACTERS = 2000
MAX_EXACT_FLOAT = 2.0**53  # beyond it, neighbouring integers are the same float


def check_input_columns(columns: Sequence[str], url: object) -> tuple[str, ...]:
    """Return the columns that are copied to the output unread; ``UsageError`` for a missing or a repeated column.

    Names are compared without case, as SQL does: ``Info`` beside ``info`` is not copied.
    """
    if missing := [column for column in INPUT_COLUMNS if column not in columns]:
        raise UsageError(
            f"{url} lacks {', '.join(missing)} (columns found: {', '.join(columns) or 'none'}). "
            f"Add the missing columns; their values may be empty"
        )
    extras = extra_columns(columns)
    counts = Counter(column.lower() for column in extras) + Counter(c for c in columns if c in INPUT_COLUMNS)
    if twice := [column for column, times in counts.items() if times > 1]:
        raise UsageError(f"{url} has more than one column named {', '.join(twice)}. Rename all but one")
    return extras


def extra_columns(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that tamis neither reads nor writes, in order."""
    ours = {*INPUT_COLUMNS, *OUTPUT_COLUMNS}
    return tuple(column for column in columns if column.lower() not in ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRow:
    """A checked row of the input table."""

    run_id: str
    ordinal: int
    video_id: str
    oss_bucket: str
    video_path: str
    video_tag: str
    info: Mapping[str, Any]
    extras: Mapping[str, Scalar]

    @classmethod
    def from_record(cls, record: Mapping[str, Scalar], *, run_id: str, ordinal: int) -> Self:
        """Check a record; ``BadRow`` for an empty id, a bucket or path that is not text, ``info`` without an object."""
        return cls(
            run_id=run_id,
            ordinal=ordinal,
            video_id=_identifier(record, "video_id"),
            oss_bucket=_required(record, "oss_bucket"),
            video_path=_required(record, "video_path"),
            video_tag=json_text.text_of(_whole(record.get("video_tag"))),
            info=_parse_info(record.get("info")),
            extras=_extras(record),
        )

    @property
    def uses_alluxio(self) -> bool:
        """True if the row asks for the Alluxio tier: ``info.use_alluxio`` is true, ``"true"`` or 1."""
        asked = self.info.get("use_alluxio", False)
        return asked == 1 or (isinstance(asked, str) and asked.lower() == "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The reason for a row without a verdict. ``code`` is stable; ``stage`` is the step that failed."""

    code: str
    stage: str
    message: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Time, place and models of a row's judgement. Times are aware datetimes."""

    start_time: datetime
    end_time: datetime
    avg_cost_seconds: float
    device_name: str = ""
    device_info: str = ""
    attempt: int = 1
    tier: str | None = None
    stages_milliseconds: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)  # filter -> digest of its weights
    is_untrained: bool = False
    decoded_fraction: float | None = None
    video: Mapping[str, Any] = field(default_factory=dict)  # facts about the file; empty without a verdict
    decision: Mapping[str, Any] | None = None  # keep, reasons and the digest of the thresholds
    thumbnails: Mapping[str, Any] | None = None  # address of the strip of frames, and their times

    def to_result_info(self) -> dict[str, Any]:
        """Return the execution's keys of ``result_info``."""
        return {
            "start_time": _timestamp(self.start_time),
            "end_time": _timestamp(self.end_time),
            "avg_cost": self.avg_cost_seconds,
            "device_name": json_text.clean(self.device_name),
            "device_info": json_text.clean(self.device_info),
            "attempt": self.attempt,
            "tier": self.tier,
            "stages": dict(self.stages_milliseconds),
            "models": dict(self.models),
            "untrained": self.is_untrained,
            "decoded_fraction": self.decoded_fraction,
            **({"video": dict(self.video)} if self.video else {}),
            **({"decision": dict(self.decision)} if self.decision else {}),
            **({"thumbnails": dict(self.thumbnails)} if self.thumbnails else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A row of the output table: either a verdict or a failure."""

    run_id: str
    ordinal: int
    video_id: str
    oss_bucket: str
    video_oss_url: str
    video_tag: str
    info: Mapping[str, Any]
    result_info: Mapping[str, Any]
    extras: Mapping[str, Scalar]

    @classmethod
    def succeeded(
        cls,
        record: Mapping[str, Scalar],
        *,
        run_id: str,
        ordinal: int,
        verdict_info: Mapping[str, Any],
        execution: Execution,
    ) -> Self:
        """Make the row of a judged video: the verdict's keys replace equal keys of the input's ``info``."""
        result_info = {"succeed": "true", **execution.to_result_info()}
        return cls._of(record, run_id, ordinal, verdict_info, result_info)

    @classmethod
    def failed(
        cls,
        record: Mapping[str, Scalar],
        *,
        run_id: str,
        ordinal: int,
        failure: Failure,
        execution: Execution,
    ) -> Self:
        """Make the row of a video without a verdict. ``record`` may be malformed: that may be the failure itself."""
        message = json_text.clean(failure.message)[:MAX_MESSAGE_CHARACTERS]
        error = {"code": failure.code, "stage": failure.stage, "message": message}
        result_info = {"succeed": "false", **execution.to_result_info(), "attempt": failure.attempts, "error": error}
        return cls._of(record, run_id, ordinal, {}, result_info)

    @classmethod
    def _of(
        cls,
        record: Mapping[str, Scalar],
        run_id: str,
        ordinal: int,
        verdict_info: Mapping[str, Any],
        result_info: Mapping[str, Any],
    ) -> Self:
        named = ("video_id", "oss_bucket", "video_tag")
        columns = {column: json_text.text_of(_whole(record.get(column))) for column in named}
        return cls(
            run_id=run_id,
            ordinal=ordinal,
            **columns,
            video_oss_url=_oss_url(record),
            info={**_info_or_empty(record), **verdict_info},
            result_info={**result_info, RUN_ID: run_id, ORDINAL: ordinal},
            extras=_extras(record),
        )

    @property
    def is_ok(self) -> bool:
        """True if the row holds a verdict."""
        return bool(self.result_info["succeed"] == "true")

    @property
    def generation(self) -> int:
        """The row's generation: 0 for a first result, the ledger's number for a result of a retry."""
        return int(self.result_info.get(GENERATION, 0))

    def with_generation(self, generation: int) -> Self:
        """Return the row of this generation; 0 leaves the row as it is."""
        return replace(self, result_info={**self.result_info, GENERATION: generation}) if generation else self

    def unwritable(self, columns: Collection[str], reason: str) -> Self:
        """Return the row as a failure without its values in ``columns`` (lower case), which the output refuses."""
        named = f"column {', '.join(sorted(columns))}: {reason}" if columns else reason
        message = json_text.clean(f"the output table cannot hold the row: {named}")[:MAX_MESSAGE_CHARACTERS]
        error = {"code": Unwritable.code, "stage": "write", "message": message}
        empty: dict[str, Any] = dict.fromkeys(("video_id", "oss_bucket", "video_oss_url", "video_tag"), "")
        left_out = {name: value for name, value in {**empty, "info": {}}.items() if name in columns}
        extras = {name: value for name, value in self.extras.items() if name.lower() not in columns}
        if set(FLAT_COLUMNS) <= self.extras.keys():
            flat = {"status": "failed", "error_code": Unwritable.code, "keep": None, "drop_reason": None}
            extras |= {name: value for name, value in flat.items() if name in extras}
        return replace(
            self,
            **left_out,
            result_info={**self.result_info, "succeed": "false", "error": error},
            extras=extras,
        )

    @property
    def outcome(self) -> str:
        """``"ok"``, or the failure's code."""
        return OK if self.is_ok else str(self.result_info["error"]["code"])

    def to_record(self) -> Record:
        """Return the output columns, then the extra columns."""
        return {
            "video_id": self.video_id,
            "oss_bucket": self.oss_bucket,
            "video_oss_url": self.video_oss_url,
            "video_tag": self.video_tag,
            "info": json_text.write(self.info),
            RESULT_INFO: json_text.write(self.result_info),
            **self.extras,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Scalar]) -> Self:
        """Read back what :meth:`to_record` wrote; ``BadRow`` when tamis did not write ``result_info``."""
        result_info = _parse_object(RESULT_INFO, record.get(RESULT_INFO))
        try:
            run_id, ordinal = str(result_info[RUN_ID]), int(result_info[ORDINAL])
        except (KeyError, TypeError, ValueError):
            raise BadRow(f"result_info names no run and ordinal: {record.get(RESULT_INFO)!r:.200}") from None
        plain = ("video_id", "oss_bucket", "video_oss_url", "video_tag")
        return cls(
            run_id=run_id,
            ordinal=ordinal,
            **{column: json_text.text_of(record.get(column)) for column in plain},
            info=_parse_info(record.get("info")),
            result_info=result_info,
            extras=_extras(record),
        )

    def to_bytes(self) -> bytes:
        """Return the record as compressed JSON, for the ledger."""
        return zlib.compress(json_text.write(self.to_record()).encode())

    @classmethod
    def from_bytes(cls, compressed: bytes) -> Self:
        """Read back what :meth:`to_bytes` wrote."""
        return cls.from_record(json_text.read(zlib.decompress(compressed).decode()))


def _identifier(record: Mapping[str, Scalar], column: str) -> str:
    """Return a name as text; many tables hold integers in such a column."""
    value = _whole(record.get(column))
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else _required(record, column)


def _whole(value: Scalar) -> Scalar:
    """Return a whole-number float as an integer: many tools read an integer column with NULLs as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT_FLOAT else value


def _required(record: Mapping[str, Scalar], column: str) -> str:
    text = record.get(column)
    if isinstance(text, float) and abs(text) > MAX_EXACT_FLOAT:
        raise BadRow(f"column {column} is the float {text!r}, too large to be exact: cast it to BIGINT or text")
    if not isinstance(text, str) or not text:
        raise BadRow(f"column {column} must be text and not empty, but is {text!r}")
    if json_text.clean(text) != text:
        raise BadRow(f"column {column} is not valid Unicode: {text!r:.200}")
    return text


def _parse_info(text: Scalar) -> dict[str, Any]:
    return {} if text is None or text == "" else _parse_object("info", text)


def _parse_object(column: str, text: Scalar) -> dict[str, Any]:
    try:
        parsed = json_text.read(text) if isinstance(text, str) else text
    except ValueError as error:
        raise BadRow(f"column {column} is not valid JSON: {error}: {text!r:.200}") from None
    if not isinstance(parsed, dict):
        raise BadRow(f"column {column} must hold a JSON object, but holds {text!r:.200}")
    return parsed


def _info_or_empty(record: Mapping[str, Scalar]) -> dict[str, Any]:
    try:
        return _parse_info(record.get("info"))
    except BadRow:
        return {}


def _extras(record: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {column: json_text.scalar(record[column]) for column in extra_columns(record)}


def _oss_url(record: Mapping[str, Scalar]) -> str:
    bucket, path = (json_text.text_of(record.get(column)) for column in ("oss_bucket", "video_path"))
    if not bucket or not path or path.startswith("oss://"):
        return path
    return f"oss://{bucket}/{path}"


def _timestamp(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
