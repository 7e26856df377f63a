"""``tamis inspect pool``: a worker's models and their load."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from celery.worker.control import inspect_command

from storage.errors import Unavailable
from tasks.worker.config import wiring_of

if TYPE_CHECKING:
    from inference.judge import Judge
    from tasks.resources.runtime import Runtime


@inspect_command()
def pool(state: Any) -> dict[str, Any]:
    """Models, digests, instances, batch fill, device memory, spool, tiers, decoder processes."""
    from tasks.resources import runtime

    pulse = wiring_of(state.app).pulse
    opened = runtime.opened()
    return {
        "phase": pulse.phase.value,
        "is_cordoned": pulse.is_cordoned,
        "is_gate_open": pulse.is_gate_open,
        "last_task_at": pulse.last_task_at.isoformat() if pulse.last_task_at else None,
        **(_opened(opened) if opened is not None else {}),
    }


def _opened(rt: Runtime) -> dict[str, Any]:
    shown: dict[str, Any] = {"node": rt.settings.node.name}
    if rt.tiers is not None:
        shown["tiers"] = {name: dataclasses.asdict(counters) for name, counters in rt.tiers.counters().items()}
        shown["spool"] = _spool(rt)
    if rt.judge is not None:
        shown |= _judge(rt.judge)
    return shown


def _spool(rt: Runtime) -> dict[str, Any]:
    try:
        return dataclasses.asdict(rt.spool.usage())
    except Unavailable as error:
        return {"error": str(error)}


def _judge(judge: Judge) -> dict[str, Any]:
    from inference.models.batcher import BatchCounters
    from inference.models.device import device_load

    models, load = judge.models, device_load(judge.models.device)
    counters = models.counters()
    return {
        "manifest": {"name": judge.manifest.name, "digest": judge.manifest.digest},
        "device": models.device_info,
        "device_load": dataclasses.asdict(load) if load else None,
        "digests": dict(models.digests),
        "untrained": sorted(models.untrained),
        "shared": {name: list(filters) for name, filters in models.shared.items()},
        "batchers": {name: _batches(one) for name, one in counters.items() if isinstance(one, BatchCounters)},
        "instances": {
            name: dataclasses.asdict(one) for name, one in counters.items() if not isinstance(one, BatchCounters)
        },
        "decoder_children": list(judge.decoder.children()),
    }


def _batches(counters: Any) -> dict[str, Any]:
    fill = round(counters.clips / counters.batches, 2) if counters.batches else None
    return {**dataclasses.asdict(counters), "mean_clips_per_batch": fill}
