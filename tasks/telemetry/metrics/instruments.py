"""Counters and histograms that this process updates as events happen. Dashboards and alerts depend on their names."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # it would double the series, and no query reads them

REGISTRY = CollectorRegistry(auto_describe=True)
"""A registry of its own: the metrics that libraries register globally are left out."""

WAIT_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
STAGE_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

QUEUE_WAIT = Histogram(
    "tamis_queue_wait_seconds",
    "From the sending of a message to the start of its task; redeliveries count from the first sending",
    ["task"],
    buckets=WAIT_BUCKETS_SECONDS,
    registry=REGISTRY,
)
STAGE = Histogram(
    "tamis_stage_seconds",
    "Time of one stage of one judged video, as in result_info.stages",
    ["stage"],
    buckets=STAGE_BUCKETS_SECONDS,
    registry=REGISTRY,
)
ROWS = Counter(
    "tamis_rows_recorded",
    "Rows whose one result this process recorded, by outcome: ok, or the code of the failure",
    ["outcome"],
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "tamis_attempts",
    "Attempts at a step, by ending: done, again (to be tried again) or failed (recorded)",
    ["step", "ending"],
    registry=REGISTRY,
)
VERDICTS = Counter(
    "tamis_verdicts",
    "Verdicts in the rows that this process recorded, by output key and label; for windows, the label of most",
    ["output", "label"],
    registry=REGISTRY,
)
for _outcome in ("ok", "internal_error", "attempts_exhausted", "decode_crashed", "decode_timeout"):
    ROWS.labels(_outcome)  # a rate does not count a series' first value: series that alerts read begin at zero

FEATURE_CACHE = Counter(
    "tamis_feature_cache",
    "Videos extracted or judged whose features were looked for in the cache, by outcome: hit or miss",
    ["outcome"],
    registry=REGISTRY,
)
for _step in ("download", "infer"):
    for _ending in ("done", "again", "failed"):
        ATTEMPTS.labels(_step, _ending)  # likewise

SHARDS = Counter("tamis_shards_written", "Shards this process wrote to an output table and closed", registry=REGISTRY)


def observe_row(outcome: str, stages_milliseconds: Mapping[str, float], verdicts: Mapping[str, str]) -> None:
    """Count a row that got its result, its verdicts (output key -> label), and how long each stage took."""
    ROWS.labels(outcome).inc()
    for stage, milliseconds in stages_milliseconds.items():
        STAGE.labels(stage).observe(milliseconds / 1000)
    for output, label in verdicts.items():
        VERDICTS.labels(output, label).inc()
