"""The dashboard's content: rows of panels, each with a few queries. ``render_dashboard.py`` turns it into JSON.

Every control worker gives the same values of the fleet's metrics: use ``max`` first, then ``sum``.
"""

from __future__ import annotations

from dataclasses import dataclass

RUN = '{run=~"$run"}'
OURS = '{job=~".*tamis.*"}'


@dataclass(frozen=True, slots=True)
class Query:
    """A query in PromQL, and the legend of its lines."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel. ``width`` is in 24ths of the page; ``unit`` is one of Grafana's unit names."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    is_stacked: bool = False
    meaning: str = ""


def panel(title: str, *queries: tuple[str, str], **more: object) -> Panel:
    """Return a panel of ``(expr, legend)`` pairs."""
    return Panel(title, tuple(Query(*query) for query in queries), **more)  # type: ignore[arg-type]  # named as above


def per_second(metric: str, *labels: str) -> str:
    """Return a counter's rate, summed over all labels but these."""
    return f"sum by ({', '.join(labels)}) (rate({metric}[$__rate_interval]))"


def mean(histogram: str, label: str) -> str:
    """Return the mean of a histogram's observations."""
    return f"{per_second(histogram + '_sum', label)} / {per_second(histogram + '_count', label)}"


def percentile(histogram: str, label: str) -> str:
    """Return the 95th percentile of a histogram's observations."""
    return f"histogram_quantile(0.95, {per_second(histogram + '_bucket', label, 'le')})"


def newest(metric: str, *labels: str, where: str = "") -> str:
    """Return a fleet metric once, however many control workers give it."""
    return f"max by ({', '.join(labels)}) ({metric}{where})"


ROWS_OF_RUN = newest("tamis_run_rows", "run", "state", where=RUN)
ENDED = newest("tamis_run_rows", "run", "state", where='{run=~"$run", state=~"ok|failed"}')
IN_FLIGHT = newest("tamis_run_rows", "run", where='{run=~"$run", state="in_flight"}')
CLIPS, BATCHES = per_second("tamis_batch_clips_total", "backbone"), per_second("tamis_batches_total", "backbone")

ROWS: dict[str, tuple[Panel, ...]] = {
    "Run": (
        panel(
            "done",
            (
                f"sum({ENDED}) / sum({ROWS_OF_RUN})",
                "",
            ),
            unit="percentunit",
            kind="gauge",
            width=4,
        ),
        panel(
            "time left",
            (
                f"sum({IN_FLIGHT}) / sum(rate(tamis_rows_recorded_total[15m]))",
                "",
            ),
            unit="s",
            kind="stat",
            width=4,
            meaning="At the rate of the last 15 minutes, of all runs together",
        ),
        panel(
            "runs that wait",
            (f"sum({newest('tamis_run_trouble', 'run', where=RUN)})", ""),
            kind="stat",
            width=4,
            meaning="A table that can be neither read nor written: `tamis runs ID` shows its answer",
        ),
        panel(
            "rows",
            (f"sum by (state) ({ROWS_OF_RUN})", "{{state}}"),
            width=12,
            is_stacked=True,
        ),
        panel(
            "failed rows by code",
            (f"sum by (code) ({newest('tamis_run_failures', 'run', 'code', where=RUN)})", "{{code}}"),
            kind="bargauge",
            width=12,
        ),
        panel(
            "attempts",
            (per_second("tamis_attempts_total", "step", "ending"), "{{step}} {{ending}}"),
            unit="ops",
            width=12,
        ),
        panel(
            "verdicts",
            (per_second("tamis_verdicts_total", "output", "label"), "{{output}}: {{label}}"),
            unit="ops",
            width=12,
            meaning="For windows, the label of most",
        ),
        panel(
            "feature cache",
            (per_second("tamis_feature_cache_total", "outcome"), "{{outcome}}"),
            (per_second("tamis_feature_cache_errors_total"), "failed calls"),
            unit="ops",
            width=12,
            meaning="Videos whose features were looked for: found, or decoded",
        ),
        panel(
            "work saved by the feature cache",
            (per_second("tamis_feature_cache_saved_seconds_total"), "seconds of work saved in a second"),
            width=12,
            meaning="Seconds that the features that were found took when they were made",
        ),
        panel(
            "bytes read from the feature cache",
            (per_second("tamis_feature_cache_hit_bytes_total"), "bytes"),
            unit="Bps",
            width=12,
        ),
    ),
    "Throughput": (
        panel(
            "rows recorded",
            (per_second("tamis_rows_recorded_total", "outcome"), "{{outcome}}"),
            unit="ops",
            is_stacked=True,
        ),
        panel("shards written", (per_second("tamis_shards_written_total", "instance"), "{{instance}}"), unit="ops"),
        panel(
            "bytes fetched",
            (per_second("tamis_tier_fetched_bytes_total", "tier"), "{{tier}}"),
            unit="Bps",
            is_stacked=True,
        ),
    ),
    "Stages": (
        panel(
            "seconds in a stage, mean", (mean("tamis_stage_seconds", "stage"), "{{stage}}"), unit="s", is_stacked=True
        ),
        panel(
            "seconds in a stage, 95th percentile", (percentile("tamis_stage_seconds", "stage"), "{{stage}}"), unit="s"
        ),
        panel(
            "wait in a queue, 95th percentile", (percentile("tamis_queue_wait_seconds", "task"), "{{task}}"), unit="s"
        ),
    ),
    "Queues": (
        panel("messages waiting", (newest("tamis_queue_messages", "queue"), "{{queue}}"), is_stacked=True),
        panel("age of the oldest message", (newest("tamis_queue_oldest_seconds", "queue"), "{{queue}}"), unit="s"),
        panel("unacknowledged messages", ("max(tamis_unacked_messages)", "unacked")),
    ),
    "GPU and models": (
        panel("device busy", ("avg by (instance) (tamis_device_busy_ratio)", "{{instance}}"), unit="percentunit"),
        panel(
            "device memory",
            ("max by (instance, state) (tamis_device_memory_bytes)", "{{instance}} {{state}}"),
            unit="bytes",
        ),
        panel(
            "clips in a batch",
            (
                f"{CLIPS} / {BATCHES}",
                "{{backbone}}",
            ),
            meaning="The larger, the better used the device is",
        ),
        panel("clips waiting for a batch", ("sum by (backbone) (tamis_batch_queued_clips)", "{{backbone}}")),
        panel(
            "wasted: padding, batches too large",
            (per_second("tamis_batch_padding_total", "backbone"), "{{backbone}} padding clips"),
            (per_second("tamis_batch_memory_full_total", "backbone"), "{{backbone}} did not fit"),
            unit="ops",
        ),
        panel(
            "exclusive models and decoders",
            ("sum by (pool, state) (tamis_pool_instances)", "{{pool}} {{state}}"),
            ("sum by (pool) (tamis_pool_waiting)", "{{pool}} waiting"),
            ("sum(tamis_decoder_children)", "decoders"),
        ),
    ),
    "Tiers and spool": (
        panel("videos served", (per_second("tamis_tier_hits_total", "tier"), "{{tier}}"), unit="ops", is_stacked=True),
        panel(
            "videos not served",
            (per_second("tamis_tier_misses_total", "tier", "reason"), "{{tier}} {{reason}}"),
            unit="ops",
        ),
        panel(
            "time spent",
            (per_second("tamis_tier_seconds_total", "tier"), "{{tier}}"),
            meaning="Threads busy with a tier",
        ),
        panel(
            "tiers paused, calls that hang",
            ("max by (instance, tier) (tamis_tier_breaker_open)", "{{instance}} {{tier}} paused"),
            ("max by (instance, tier) (tamis_tier_stuck_calls)", "{{instance}} {{tier}} hanging"),
        ),
        panel(
            "spool",
            ("max by (instance, state) (tamis_spool_bytes)", "{{instance}} {{state}}"),
            ("max by (instance) (tamis_spool_evictable_bytes)", "{{instance}} evictable"),
            ("max by (instance) (tamis_spool_limit_bytes)", "{{instance}} limit"),
            unit="bytes",
            meaning="A full spool is a cache at work, as long as much of it is evictable",
        ),
        panel(
            "files in the spool",
            ("max by (instance) (tamis_spool_files)", "{{instance}} files"),
            ("max by (instance) (tamis_spool_leases)", "{{instance}} leases"),
        ),
    ),
    "Workers": (
        panel(
            "takes work",
            ('max by (instance) (tamis_worker_phase{phase="consuming"})', "{{instance}}"),
            ("1 - max by (instance) (tamis_worker_gate_open)", "{{instance}} gate closed"),
            ("max by (instance) (tamis_worker_cordoned)", "{{instance}} drained"),
        ),
        panel(
            "silence of a node", ("min by (node, queue) (tamis_node_silence_seconds)", "{{node}} {{queue}}"), unit="s"
        ),
        panel("starts within an hour", (f"changes(process_start_time_seconds{OURS}[1h])", "{{instance}}")),
        panel("memory", (f"process_resident_memory_bytes{OURS}", "{{instance}}"), unit="bytes"),
        panel("CPUs", (f"rate(process_cpu_seconds_total{OURS}[$__rate_interval])", "{{instance}}")),
        panel("open files", (f"process_open_fds{OURS}", "{{instance}}")),
    ),
}
