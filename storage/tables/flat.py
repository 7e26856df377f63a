"""Flat, typed columns of result rows: identity, status, scores, windows, regions and facts of the file.

:func:`flat_record` turns a row into plain JSON values; :class:`FlatSchema` collects the columns over all rows of a run,
because outputs and labels are those of the run's manifest, which an export does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from storage.json_text import text_of
from storage.records import FLAT_COLUMNS, OUTPUT_COLUMNS, ResultRow
from storage.verdicts import Judgement, judgements

if TYPE_CHECKING:
    import pyarrow as pa

FACTS = {  # of the file, in ``result_info.video``
    "container": "string",
    "codec": "string",
    "width": "int32",
    "height": "int32",
    "rotation_degrees": "int32",
    "interlaced": "bool",
    "frames": "int64",
    "fps": "double",
    "duration_seconds": "double",
    "size_bytes": "int64",
}
FIXED = {
    **dict.fromkeys((*OUTPUT_COLUMNS, "run_id"), "string"),
    "ordinal": "int64",
    "status": "string",
    "error_code": "string",
    "error_stage": "string",
    "error_message": "string",
    **dict.fromkeys(("keep", "drop_reason", "decided_by"), "string"),
    "attempt": "int32",
    "tier": "string",
    "start_time": "time",
    "end_time": "time",
    "untrained": "bool",
    "decoded_fraction": "double",
    **{f"video_{name}": kind for name, kind in FACTS.items()},
}
REGIONS = ("abnormal_region_acted_on", "abnormal_region_reason", "abnormal_region_regions", "abnormal_region_crop_url")
BOX = ("x1", "y1", "x2", "y2")  # pixels of the upright source
INT64 = range(-(2**63), 2**63)


def with_flat_columns(row: ResultRow) -> ResultRow:
    """Return the row with its :data:`FLAT_COLUMNS`, which are written as further columns of the output table."""
    record = flat_record(row)
    values = {"run": row.run_id, **{name: record.get(name) for name in FLAT_COLUMNS[1:]}}
    return replace(row, extras={**row.extras, **values})


def flat_record(row: ResultRow) -> dict[str, Any]:
    """Return column -> JSON value of a row; times in milliseconds since 1970-01-01 UTC.

    Of the output ``vfx_filter``: ``vfx_filter_label``, ``vfx_filter_prob``, ``vfx_filter_scores`` (label ->
    probability); of a segmented one: ``…_windows``, a list of structs. An extra column of a name that is taken here is
    called ``input_<name>``. Signals of the whole video are ``signal_<name>``, those of windows ``signals_windows``.
    """
    about, error = row.result_info, row.result_info.get("error") or {}
    decision = about.get("decision") or {}
    record = {
        **{name: value for name, value in row.to_record().items() if name not in row.extras},
        "run_id": row.run_id,
        "ordinal": row.ordinal,
        "status": "ok" if row.is_ok else "failed",
        **{f"error_{name}": error.get(name) for name in ("code", "stage", "message")},
        "keep": decision.get("keep"),
        "drop_reason": ",".join(decision.get("reasons") or ()) or None,
        "decided_by": decision.get("decided_by"),
        **{name: about.get(name) for name in ("attempt", "tier", "untrained", "decoded_fraction")},
        **{name: _milliseconds(about.get(name)) for name in ("start_time", "end_time")},
        **{f"video_{name}": (about.get("video") or {}).get(name) for name in FACTS},
        **(_regions(row.info) if row.is_ok else {}),
        **(_signals(row.info.get("signals")) if row.is_ok else {}),
    }
    for key, entry in row.info.items() if row.is_ok else ():
        record |= _verdict(key, judgements(entry))
    extras = row.extras.items() if not row.extras.keys() >= set(FLAT_COLUMNS) else _without_flat_columns(row.extras)
    return record | {f"input_{name}" if name in record else name: value for name, value in extras}


def _without_flat_columns(extras: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((name, value) for name, value in extras.items() if name not in FLAT_COLUMNS)


def _verdict(key: str, found: tuple[Judgement, ...]) -> dict[str, Any]:
    if found and found[0].start_seconds is None:
        whole = found[0]
        return {f"{key}_label": whole.label, f"{key}_prob": whole.prob, f"{key}_scores": dict(whole.result) or None}
    windows = [_window(one) for one in found]
    return {f"{key}_windows": windows} if windows else {}


def _window(one: Judgement) -> dict[str, Any]:
    times = {"start_seconds": one.start_seconds, "end_seconds": one.end_seconds}
    return {**times, "label": one.label, "prob": one.prob, "scores": dict(one.result)}


def _regions(info: Mapping[str, Any]) -> dict[str, Any]:
    found, crop = info.get("abnormal_region_info"), info.get("abnormal_region_crop")
    if not isinstance(found, Mapping) or "regions" not in found:
        return {}
    url = crop.get("url") if isinstance(crop, Mapping) else None
    regions = [_region(region) for region in found["regions"]]
    return dict(zip(REGIONS, (found.get("acted_on"), found.get("reason"), regions, url), strict=True))


def _region(region: Mapping[str, Any]) -> dict[str, Any]:
    box = dict(zip(BOX, region["box"], strict=True))
    return {name: region[name] for name in ("label", "score", "presence")} | box


def _signals(entry: object) -> dict[str, Any]:
    """Columns ``signal_…`` of the whole video, and ``signals_windows`` if windows were judged."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("whole"), Mapping):
        return {}
    whole = {f"signal_{name}": value for name, value in entry["whole"].items()}
    windows = [_signals_window(dict(window)) for window in entry.get("windows") or ()]
    return whole | ({"signals_windows": windows} if windows else {})


def _signals_window(window: dict[str, Any]) -> dict[str, Any]:
    start, end = window.pop("duration")
    return {"start_seconds": start, "end_seconds": end, "label": None, "prob": None, "scores": window}


def _milliseconds(text: object) -> int | None:
    return round(datetime.fromisoformat(text).timestamp() * 1000) if isinstance(text, str) else None


@dataclass(slots=True)
class _Column:
    """Kinds of values and labels of a column that is not fixed."""

    kinds: set[str] = field(default_factory=set)
    labels: dict[str, None] = field(default_factory=dict)  # of scores and windows


class FlatSchema:
    """The columns of a run's rows: the fixed ones, then the others in the order in which they first occur."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Take the columns, kinds of values and labels of a row into account."""
        for name, value in record.items():
            if name in FIXED:
                continue
            column = self._columns.setdefault(name, _Column())
            if value is None:
                column.kinds |= {"double"} if name.startswith("signal_") else set()  # null: it could not be measured
                continue
            column.kinds.add(_kind(name, value))
            if isinstance(value, dict):
                column.labels.update(dict.fromkeys(value))
            elif name.endswith("_windows"):
                column.labels.update(dict.fromkeys(label for window in value for label in window["scores"]))

    def arrow(self) -> pa.Schema:
        """Return the schema of all rows."""
        import pyarrow as pa  # takes 100 MB of memory, so it is imported late

        simple = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "double": pa.float64()}
        simple |= {"bool": pa.bool_(), "time": pa.timestamp("ms", "UTC")}
        region = pa.struct([("label", pa.string()), *((name, pa.float64()) for name in ("score", "presence", *BOX))])

        def arrow_type(column: _Column) -> pa.DataType:
            kind = _common_kind(column.kinds)
            if kind == "regions":
                return pa.list_(region)
            if kind not in {"scores", "windows"}:
                return simple[kind]
            scores = pa.struct([(label, pa.float64()) for label in column.labels])
            times = [("start_seconds", pa.float64()), ("end_seconds", pa.float64())]
            window = [*times, ("label", pa.string()), ("prob", pa.float64())]
            window += [("scores", scores)] if column.labels else []  # Parquet has no empty struct
            return scores if kind == "scores" else pa.list_(pa.struct(window))

        fixed = [(name, simple[kind]) for name, kind in FIXED.items()]
        return pa.schema([*fixed, *((name, arrow_type(column)) for name, column in self._columns.items())])

    def fit(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row with values of its columns' types: text where an extra column holds text and numbers."""
        texts = (name for name, column in self._columns.items() if _common_kind(column.kinds) == "string")
        return {**record, **{name: text_of(record[name]) for name in texts if record.get(name) is not None}}


def _kind(name: str, value: object) -> str:
    if isinstance(value, dict):
        return "scores"
    if isinstance(value, list):
        return "windows" if name.endswith("_windows") else "regions"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if value in INT64 else "string"
    return "double" if isinstance(value, float) else "string"


def _common_kind(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    return "double" if kinds == {"int64", "double"} else "string"
