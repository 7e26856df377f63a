"""The record of a run: what was asked for, what came out, how long it took, and by which models and thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from importlib.metadata import version
from typing import Any

from inference.decide import Thresholds
from inference.manifest import Manifest
from inference.manifest.schema import ThresholdSpec
from storage import json_text
from storage.json_text import Scalar
from storage.ledger import Counts, Figures, Run
from storage.records import GENERATION, ORDINAL, RUN_ID, Record, ResultRow

COLUMNS = (  # beside those of an output table, so that SQL needs no JSON
    *("run", "state", "submitted_at", "updated_at", "ended_at", "total_rows", "ok_rows", "failed_rows"),
    *("kept_rows", "input", "output", "manifest"),
)
_NUMBERS = tuple(name for name in COLUMNS if name.endswith("_rows"))
_TEXTS = tuple(name for name in COLUMNS if name not in _NUMBERS)
ENDED = frozenset({"complete", "cancelled"})


@dataclass(frozen=True, slots=True)
class RunLine:
    """The columns of a record. Times are ISO 8601 in UTC; ``ended_at`` is empty while the run is open."""

    run: str
    state: str
    submitted_at: str
    updated_at: str
    ended_at: str
    total_rows: int
    ok_rows: int
    failed_rows: int
    kept_rows: int
    input: str
    output: str
    manifest: str

    @classmethod
    def from_record(cls, record: Mapping[str, Scalar]) -> RunLine | None:
        """Read the columns of a row; None for a row that is no record of a run."""
        try:
            values: dict[str, Any] = {name: str(record[name] or "") for name in _TEXTS}
            values |= {name: int(record[name] or 0) for name in _NUMBERS}  # text in a MaxCompute table
        except (KeyError, ValueError):
            return None
        return cls(**values) if values["run"] else None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run's line and its details: JSON values, keyed as :func:`_details` writes them."""

    line: RunLine
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_row(self, generation: int) -> ResultRow:
        """Return the record as a row of an output table: of two rows of a run, the higher generation is newer."""
        about = {"succeed": "true", RUN_ID: self.line.run, ORDINAL: 0, GENERATION: generation}
        times = {"start_time": self.line.submitted_at, "end_time": self.line.updated_at}
        return ResultRow(
            run_id=self.line.run,
            ordinal=0,
            video_id=self.line.run,
            oss_bucket="",
            video_oss_url="",
            video_tag="",
            info=self.details,
            result_info=about | times,
            extras=asdict(self.line),
        )

    @classmethod
    def from_record(cls, record: Record) -> RunRecord | None:
        """Read back a row; None for a row that is no record of a run."""
        line = RunLine.from_record(record)
        info = record.get("info")
        return None if line is None else cls(line, json_text.read(info) if isinstance(info, str) else {})


SUMMED = ("stages", "row_seconds", "progress", "models", "keeps", "decided_by", "untrained")  # details, over rows


def timed_rows(record: RunRecord) -> int:
    """Return the number of rows whose times the record has."""
    return sum(rows for _, rows in record.details.get("row_seconds", ()))


def with_older_sums(record: RunRecord, older: RunRecord) -> RunRecord:
    """Return the record with the sums of an older one if that knows more rows: the ledger was emptied since."""
    if timed_rows(older) <= timed_rows(record):
        return record
    details = {**record.details, **{name: older.details[name] for name in SUMMED if name in older.details}}
    line = replace(record.line, kept_rows=older.line.kept_rows, submitted_at=older.line.submitted_at)
    ended = older.line.ended_at if older.line.ended_at and record.line.ended_at else record.line.ended_at
    return RunRecord(replace(line, ended_at=ended), details)


def declared_thresholds(record: RunRecord) -> dict[str, ThresholdSpec]:
    """Return the thresholds of the record by output."""
    return {key: ThresholdSpec(**spec) for key, spec in record.details.get("thresholds", {}).items()}


def record_of(run: Run, counts: Counts, figures: Figures, manifest: Manifest | None, now: datetime) -> RunRecord:
    """Return the record of a run at this time; ``manifest``: the one it is judged by, if this process has it."""
    has_ended = run.state in ENDED
    ended = figures.points[-1].at if figures.points else now
    line = RunLine(
        run=run.run_id,
        state=run.state,
        submitted_at=_iso(run.submitted_at),
        updated_at=_iso(now),
        ended_at=_iso(ended) if has_ended else "",
        total_rows=counts.rows,
        ok_rows=counts.ok,
        failed_rows=counts.failed,
        kept_rows=figures.keeps.get("keep", 0),
        input=run.spec.tables,
        output=run.spec.outputs,
        manifest=run.spec.manifest,
    )
    return RunRecord(line, _details(run, counts, figures, manifest))


def _details(run: Run, counts: Counts, figures: Figures, manifest: Manifest | None) -> dict[str, Any]:
    thresholds = manifest.spec.thresholds if manifest is not None else {}
    return {
        "configuration": {
            "filters": list(run.spec.filters),
            "manifest_digest": run.spec.manifest_digest,
            "features": run.spec.features,
            "selection": run.spec.selection,
            "shard_rows": run.shard_rows,
            "extra_columns": list(run.extra_columns),
            "tamis": version("tamis"),
        },
        "failures": dict(counts.failures),
        "stages": {name: asdict(stage) for name, stage in figures.stages.items()},
        "row_seconds": sorted(figures.row_seconds.items()),
        "progress": [[_iso(point.at), point.done] for point in figures.points],
        "models": {name: dict(digests) for name, digests in figures.models.items()},
        "keeps": dict(figures.keeps),
        "decided_by": dict(figures.decided_by),
        "untrained": figures.untrained,
        "thresholds": {key: spec.model_dump(mode="json", exclude_none=True) for key, spec in thresholds.items()},
        "thresholds_digest": Thresholds.of(thresholds).digest if thresholds else "",
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
