"""Trace a judge at work for some videos: a profile's spans around its decoder and models, which stay as they are."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from inference.judge import Judge
from inference.models.networks.video_model import VideoModel
from inference.profiling.steps.steps import Span
from inference.profiling.trace.tracing import Tracer

logger = logging.getLogger(__name__)

READS = {"decode": "read", "crop": "read"}
EXECS = {"score": "exec", "detect": "exec"}


def trace_judge(judge: Judge, tracer: Tracer, videos: int, restore: Callable[[], object]) -> Judge:
    """Start to record, and return a judge that works as ``judge`` inside spans.

    After ``videos`` videos the recording ends and ``restore`` is called. ``step`` is a video, ``read`` its decoding,
    ``exec`` its detection and scoring, and ``prep`` the normalising of each batch, in the batch's thread.
    """
    ending = _Ending(tracer, videos, restore)
    for engine in judge.models.engines:
        ending.undo.enter_context(_spanned_normalising(engine.model, ending.span))
    tracer.start()
    parts = replace(
        judge,
        decoder=cast("Any", _Spanned(judge.decoder, READS, ending.span)),
        models=cast("Any", _Spanned(judge.models, EXECS, ending.span)),
    )
    return cast("Judge", _Spanned(parts, {"judge": "step"}, ending.span, ending.video_ended))


class _Ending:
    """Counts the videos, and ends the recording once."""

    def __init__(self, tracer: Tracer, videos: int, restore: Callable[[], object]) -> None:
        self.undo = ExitStack()
        self._tracer = tracer
        self._left = videos
        self._restore = restore
        self._lock = threading.Lock()

    def span(self, name: str) -> Any:
        """The tracer's span while it records; nothing for videos that end later."""
        return self._tracer.span(name) if self._left > 0 else nullcontext()

    def video_ended(self) -> None:
        """Count a video; the last one ends the recording."""
        with self._lock:
            self._left -= 1
            if self._left != 0:
                return
        self._restore()
        self.undo.close()
        path: Path | None = self._tracer.stop()
        logger.warning("the trace has ended: %s", path or "its file is written by nsys")


class _Spanned:
    """Stands for another object; calls of some of its methods are spans."""

    def __init__(
        self, inner: object, names: Mapping[str, str], span: Span, after: Callable[[], None] = lambda: None
    ) -> None:
        self.is_traced = True
        self._inner = inner
        self._names = names
        self._span = span
        self._after = after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                with self._span(self._names[name]):
                    return found(*args, **kwargs)
            finally:
                self._after()

        return call


def _spanned_normalising(model: VideoModel, span: Span) -> ExitStack:
    """Put a ``prep`` span around each normalising of a batch; closing the stack takes it away."""
    open_spans: list[Any] = []  # an engine has one thread

    def enter(_module: nn.Module, _inputs: Any) -> None:
        open_spans.append(span("prep"))
        open_spans[-1].__enter__()

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        if open_spans:
            open_spans.pop().__exit__(None, None, None)

    hooks = ExitStack()
    for handle in (
        model.normalise.register_forward_pre_hook(enter),
        model.normalise.register_forward_hook(leave, always_call=True),
    ):
        hooks.callback(handle.remove)
    return hooks
