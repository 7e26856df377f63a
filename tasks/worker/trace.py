"""``tamis control trace``: a trace of the next videos that a GPU worker judges."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from celery.worker.control import control_command

if TYPE_CHECKING:
    from tasks.resources.runtime import Runtime

logger = logging.getLogger(__name__)

KINDS = ("torch", "nvtx", "memory")


@control_command(args=[("kind", str), ("videos", int)], signature="<torch|nvtx|memory> [VIDEOS=5]")
def trace(state: Any, kind: str = "torch", videos: int = 5) -> dict[str, str]:  # noqa: ARG001 -- Celery's signature
    """Trace the next videos of a GPU worker, into its state directory."""
    from tasks.resources import runtime

    opened = runtime.opened()
    if opened is None or opened.judge is None:
        return {"error": "this worker has no models: choose a GPU worker with -d"}
    if kind not in KINDS or videos < 1:
        return {"error": f"trace {kind} {videos}: give {', '.join(KINDS)}, and at least 1 video"}
    return begin(opened, kind, videos)


def begin(rt: Runtime, kind: str, videos: int) -> dict[str, str]:
    """Put a traced judge in the place of the runtime's own until it has judged ``videos`` videos."""
    from inference.profiling.options import Tracing, has_gpu
    from inference.profiling.trace.traced_judge import trace_judge
    from inference.profiling.trace.tracing import make_tracer

    plain = rt.judge
    if plain is None or getattr(plain, "is_traced", False):
        return {"error": "a trace is being recorded: wait until its videos are judged"}
    if kind != "torch" and not has_gpu():
        return {"error": f"trace {kind} needs a GPU, and this worker has none: trace torch"}
    stem = rt.settings.node.state_dir / "traces" / f"{os.getpid()}-{time.time_ns() // 10**9}"

    def restore() -> None:
        rt.judge = plain

    rt.judge = trace_judge(plain, make_tracer(Tracing(kind), stem), videos, restore)
    logger.warning("an operator asked for a %s trace of %d videos: %s", kind, videos, stem)
    return {"ok": f"tracing the next {videos} videos to {stem}_*"}
