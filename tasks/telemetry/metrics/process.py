"""Metrics of one worker process, read at a scrape: tiers, spool, batches, decoders, device memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from storage.errors import Unavailable
from storage.tiers.breaker import BreakerState
from tasks.telemetry.metrics.families import Labels, MetricFamily, metrics
from tasks.telemetry.pulse import Pulse, WorkerPhase

if TYPE_CHECKING:
    from inference.judge import Judge
    from storage.tiers import Tiers
    from tasks.resources.runtime import Runtime

FAMILIES = (
    MetricFamily("tamis_worker_phase", "1 for the present phase of the process", ("phase",)),
    MetricFamily(
        "tamis_worker_gate_open", "0 while the worker takes no messages because there is no room for their work"
    ),
    MetricFamily("tamis_worker_cordoned", "1 while an operator has the worker drained"),
    MetricFamily("tamis_worker_node", "1 for the node that the process belongs to", ("node",)),
    MetricFamily("tamis_tier_hits", "Videos that the tier served", ("tier",), is_counter=True),
    MetricFamily("tamis_tier_misses", "Videos that it could not serve, by reason", ("tier", "reason"), is_counter=True),
    MetricFamily("tamis_tier_fetched_bytes", "Bytes fetched from the tier", ("tier",), is_counter=True),
    MetricFamily("tamis_tier_seconds", "Seconds spent on the tier, hits and misses", ("tier",), is_counter=True),
    MetricFamily(
        "tamis_tier_breaker_open", "1 while the tier is not used because it failed too often in a row", ("tier",)
    ),
    MetricFamily("tamis_tier_stuck_calls", "Calls to the tier that were given up and still hang", ("tier",)),
    MetricFamily("tamis_spool_bytes", "Bytes in the node's spool: used, reserved", ("state",)),
    MetricFamily(
        "tamis_spool_evictable_bytes", "Bytes of used files without a lease, which are removed when room is needed"
    ),
    MetricFamily("tamis_spool_limit_bytes", "Bytes that the spool may take"),
    MetricFamily("tamis_spool_files", "Files in the node's spool"),
    MetricFamily("tamis_spool_leases", "Leases on files of the node's spool"),
    MetricFamily("tamis_batches", "Batches run", ("backbone",), is_counter=True),
    MetricFamily("tamis_batch_clips", "Clips in them", ("backbone",), is_counter=True),
    MetricFamily("tamis_batch_padding", "Clips run only to fill a bucket", ("backbone",), is_counter=True),
    MetricFamily("tamis_batch_queued_clips", "Clips waiting for a batch", ("backbone",)),
    MetricFamily("tamis_batch_memory_full", "Batches that did not fit into memory", ("backbone",), is_counter=True),
    MetricFamily("tamis_pool_instances", "Exclusive model instances: all, in_use", ("pool", "state")),
    MetricFamily("tamis_pool_waiting", "Threads waiting for an instance", ("pool",)),
    MetricFamily("tamis_feature_cache_hit_bytes", "Bytes read from the cache of features", is_counter=True),
    MetricFamily("tamis_feature_cache_saved_seconds", "Seconds that they took when they were made", is_counter=True),
    MetricFamily("tamis_feature_cache_errors", "Calls to the cache that failed, or were not tried", is_counter=True),
    MetricFamily("tamis_decoder_children", "Live decoder processes"),
    MetricFamily("tamis_device_memory_bytes", "Memory of the device: used (by any process), total", ("state",)),
    MetricFamily("tamis_device_busy_ratio", "Share of the last sample period in which a kernel ran on the device"),
)

Found = dict[str, list[tuple[Labels, float]]]


class ProcessCollector:
    """Reads the runtime, once it is open, and the pulse. It is registered with a prometheus_client registry."""

    def __init__(self, runtime: Callable[[], Runtime | None], pulse: Pulse) -> None:
        self._runtime = runtime
        self._pulse = pulse

    def describe(self) -> Iterator[Metric]:
        """Return every family without samples."""
        return metrics(FAMILIES, {})

    def collect(self) -> Iterator[Metric]:
        """Return every family with its present samples."""
        found: Found = defaultdict(list)
        found["tamis_worker_phase"] = [((phase.value,), float(phase is self._pulse.phase)) for phase in WorkerPhase]
        found["tamis_worker_gate_open"] = [((), float(self._pulse.is_gate_open))]
        found["tamis_worker_cordoned"] = [((), float(self._pulse.is_cordoned))]
        if (runtime := self._runtime()) is not None:
            _read_runtime(runtime, found)
        return metrics(FAMILIES, found)


def _read_runtime(runtime: Runtime, found: Found) -> None:
    found["tamis_worker_node"] = [((runtime.settings.node.name,), 1.0)]
    if runtime.tiers is not None:
        _read_tiers(runtime.tiers, found)
        _read_spool(runtime, found)
    if runtime.feature_cache is not None:
        counters = runtime.feature_cache.counters
        found["tamis_feature_cache_hit_bytes"] = [((), counters.hit_bytes)]
        found["tamis_feature_cache_saved_seconds"] = [((), counters.saved_seconds)]
        found["tamis_feature_cache_errors"] = [((), counters.errors)]
    if runtime.judge is not None:
        _read_models(runtime.judge, found)


def _read_tiers(tiers: Tiers, found: Found) -> None:
    for name, counters in tiers.counters().items():
        found["tamis_tier_hits"].append(((name,), counters.hits))
        found["tamis_tier_misses"] += [((name, reason), count) for reason, count in counters.misses.items()]
        found["tamis_tier_fetched_bytes"].append(((name,), counters.fetched_bytes))
        found["tamis_tier_seconds"].append(((name,), counters.milliseconds / 1000))
        found["tamis_tier_breaker_open"].append(((name,), float(counters.health.state is not BreakerState.CLOSED)))
        found["tamis_tier_stuck_calls"].append(((name,), counters.health.stuck_calls))


def _read_spool(runtime: Runtime, found: Found) -> None:
    try:
        usage = runtime.spool.usage()
    except Unavailable:
        return  # no sample rather than a wrong one
    found["tamis_spool_bytes"] = [(("used",), usage.used_bytes), (("reserved",), usage.reserved_bytes)]
    found["tamis_spool_evictable_bytes"] = [((), usage.evictable_bytes)]
    found["tamis_spool_limit_bytes"] = [((), usage.limit_bytes)]
    found["tamis_spool_files"] = [((), usage.files)]
    found["tamis_spool_leases"] = [((), usage.leases)]


def _read_models(judge: Judge, found: Found) -> None:
    from inference.models.batcher import BatchCounters
    from inference.models.device import device_load

    for name, counters in judge.models.counters().items():
        if isinstance(counters, BatchCounters):
            found["tamis_batches"].append(((name,), counters.batches))
            found["tamis_batch_clips"].append(((name,), counters.clips))
            found["tamis_batch_padding"].append(((name,), counters.padding))
            found["tamis_batch_queued_clips"].append(((name,), counters.queued))
            found["tamis_batch_memory_full"].append(((name,), counters.memory_full))
        else:
            found["tamis_pool_instances"] += [((name, "all"), counters.instances), ((name, "in_use"), counters.in_use)]
            found["tamis_pool_waiting"].append(((name,), counters.waiting))
    found["tamis_decoder_children"] = [((), len(judge.decoder.children()))]
    if (load := device_load(judge.models.device)) is not None:
        found["tamis_device_memory_bytes"] = [(("used",), load.used_bytes), (("total",), load.total_bytes)]
        if load.busy_ratio is not None:
            found["tamis_device_busy_ratio"] = [((), load.busy_ratio)]
