"""A process of the original design: as many instances of each filter's model as threads, and a queue of videos.

A thread takes an instance of one filter, decodes the clips of that filter's outputs one by one, and runs the model on
each: 63 decodes and 63 passes for a minute of video with the production filters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.original.classifier import Classifier, build_classifiers
from bench.original.reading import Span, read, spans
from inference.manifest import Manifest, Output
from inference.models.lending import Pool


@dataclass(frozen=True, slots=True)
class JudgedClip:
    """Probabilities of a clip, in the order of the head's labels."""

    span: Span
    probabilities: Sequence[float]
    model_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class OriginalProcess:
    """The models and threads of a process."""

    manifest: Manifest
    pool: Pool[Classifier]  # filter -> its instances
    threads: int

    def judge_all(self, paths: Sequence[Path]) -> list[dict[str, list[JudgedClip]]]:
        """Return per video: output key -> its clips."""
        with ThreadPoolExecutor(self.threads) as threads:
            return list(threads.map(self.judge, paths))

    def judge(self, path: Path) -> dict[str, list[JudgedClip]]:
        """Return output key -> its clips; every clip is decoded separately, reversed ones too."""
        outputs = self.manifest.outputs(frozenset(self.manifest.switches))
        return {output.key: self._output(path, output) for output in outputs}

    def _output(self, path: Path, output: Output) -> list[JudgedClip]:
        with self.pool.acquire(output.filter) as classifier:
            return [_judge_clip(path, output, span, classifier) for span in spans(path, output.request)]


def open_process(manifest: Manifest, threads: int, *, skips_predictor: bool) -> OriginalProcess:
    """Build every instance, and run one of each filter, because first calls are slow."""
    built = {
        one.name: build_classifiers(manifest, one, threads, skips_predictor=skips_predictor) for one in manifest.filters
    }
    for instances in built.values():
        fed = instances[0].preprocessing
        instances[0](np.zeros((fed.num_frames, fed.picture.height, fed.picture.width, 3), np.uint8))
    return OriginalProcess(manifest, Pool(built), threads)


def _judge_clip(path: Path, output: Output, span: Span, classifier: Classifier) -> JudgedClip:
    frames = read(path, output.request.picture, span, is_reversed=output.is_reversed)
    before = time.thread_time()  # the models run on this thread only
    probabilities = classifier(frames)
    return JudgedClip(span, probabilities, time.thread_time() - before)
