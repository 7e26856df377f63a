"""The opened models of one manifest: a decoded video in, scores and boxes out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import count
from typing import Protocol

import numpy as np
import torch

from inference.errors import BadVideo, Transient, VideoFault
from inference.manifest import Manifest, Output
from inference.manifest.preprocessing import Preprocessing
from inference.models.batcher import Answer, BatchCounters, Batcher
from inference.models.device import device_faults, device_info, device_name, give_back_memory, is_gpu
from inference.models.lending import Pool, PoolCounters
from inference.models.networks.transforms import gather_clip
from inference.models.networks.video_model import VECTORS, VideoModel
from inference.types import Clip, DecodedVideo, Detection, Scores, VectorKey, Vectors

logger = logging.getLogger(__name__)


class RegionDetector(Protocol):
    """Finds abnormal regions; :class:`inference.models.detector.Detector` is the implementation."""

    def detect(self, decoded: DecodedVideo, clip: Clip) -> list[Detection]:
        """Boxes in pixels of the source picture."""

    def warm_up(self) -> None:
        """Run once, as the first call is slow."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A backbone instance, the heads that use it, and its batcher."""

    model: VideoModel
    batcher: Batcher
    heads: tuple[str, ...]
    preprocessing: Preprocessing
    instance: str  # the backbone entries that share this instance
    filters: tuple[str, ...]  # that use it
    makers: Mapping[str, str]  # head -> SHA-256 (hex) of what makes its vectors; heads of one maker share them


@dataclass(frozen=True, slots=True)
class _Pass:
    """A backbone pass: its engine, the clip of the video, and the direction of its frames."""

    engine: int
    clip: int
    is_reversed: bool


@dataclass(frozen=True, kw_only=True)  # without slots: the cached property needs a dict
class Models:
    """Opened models. Thread-safe: any number of threads may score and detect at once."""

    manifest: Manifest
    device: torch.device
    engines: tuple[Engine, ...]
    detectors: Pool[RegionDetector]
    digests: Mapping[str, str]  # filter -> SHA-256 (hex) of its weights
    untrained: frozenset[str]  # filters whose weights are seeded
    threads: int = 1  # CPU threads for the models
    settings: ExitStack = field(default_factory=ExitStack)  # of the process, undone when the models are closed
    give_back_memory: Callable[[], None] = give_back_memory
    timeout_seconds: float = 300.0  # for the scores of a clip, and for a free detector
    _scored: Iterator[int] = field(default_factory=lambda: count(1), init=False, repr=False)

    @property
    def is_untrained(self) -> bool:
        """True when any filter has seeded instead of trained weights."""
        return bool(self.untrained)

    @property
    def device_name(self) -> str:
        """The maker's name of the device."""
        return device_name(self.device)

    @property
    def device_info(self) -> str:
        """Kind, size and versions of the device, in one line."""
        return device_info(self.device, self.threads)

    @property
    def shared(self) -> Mapping[str, tuple[str, ...]]:
        """Backbone instance, named by its entries in the manifest -> filters that share its pass per clip."""
        return {engine.instance: engine.filters for engine in self.engines}

    def warm_up(self) -> None:
        """Run every model once with every batch size; log the seconds.

        Raises:
            Transient: the device's memory is full, or (DeviceLost) the device failed.
        """
        started = time.monotonic()
        for engine in self.engines:
            shape = engine.preprocessing.picture
            clip = torch.zeros((engine.preprocessing.num_frames, shape.height, shape.width, 3), dtype=torch.uint8)
            with device_faults():
                engine.batcher.warm_up(clip, engine.heads)
        if self.manifest.detector is not None:
            for detector in self.detectors.instances(self.manifest.detector.name):
                detector.warm_up()
        logger.info("the models are warm after %.1f s", time.monotonic() - started)

    def score(self, decoded: DecodedVideo, enabled: frozenset[str]) -> dict[str, tuple[Scores, ...]]:
        """Output key -> one :class:`Scores` per clip, in time order, for every enabled filter with a head.

        Raises:
            ManifestError: a switch is unknown.
            BadVideo: a score of this video is not finite.
            Transient: no place in a queue or no answer in time, or (DeviceLost) the device failed.
        """
        outputs = [output for output in self.manifest.outputs(enabled) if not output.reads_signals]
        with _cancelling() as futures:
            for one, heads in self._passes(decoded, outputs).items():
                futures[one] = self._submit(decoded, one, heads)
            answers = {one: self._wait(future) for one, future in futures.items()}
        self._spare_memory()
        return {output.key: self._scores(decoded, output, answers) for output in outputs}

    def vector_key(self, output: Output) -> VectorKey:
        """The key of the vectors that the output's head classifies."""
        return VectorKey(self._maker(output.head), output.request, output.is_reversed)

    def vectors(self, decoded: DecodedVideo, enabled: frozenset[str]) -> dict[VectorKey, Vectors]:
        """Vectors of the clips, in time order, for every enabled filter with a head. Raises as :meth:`score` does."""
        outputs = [output for output in self.manifest.outputs(enabled) if not output.reads_signals]
        with _cancelling() as futures:
            for one, heads in self._passes(decoded, outputs).items():
                names = {self._maker(head): VECTORS + head for head in heads}
                futures[one] = self._submit(decoded, one, list(names.values()))
            answers = {one: self._wait(future) for one, future in futures.items()}
        self._spare_memory()
        return {self.vector_key(output): self._vectors(decoded, output, answers) for output in outputs}

    def classify(
        self, decoded: DecodedVideo, vectors: Mapping[VectorKey, Vectors], enabled: frozenset[str]
    ) -> dict[str, tuple[Scores, ...]]:
        """Return what :meth:`score` returns, from vectors; of ``decoded`` only the times of its clips are read."""
        outputs = [output for output in self.manifest.outputs(enabled) if not output.reads_signals]
        return {output.key: self._classified(decoded, output, vectors[self.vector_key(output)]) for output in outputs}

    @cached_property
    def boxes_made_by(self) -> str:
        """SHA-256 (hex) of what makes the boxes: the detector's weights, device, dtype and limits."""
        spec = self.manifest.detector
        if spec is None:
            return ""
        made_by = spec.model_dump_json(include={"kind", "labels", "dtype", "confidence", "iou", "max_boxes"})
        return sha256(repr((self.digests[spec.name], self.device.type, made_by)).encode()).hexdigest()

    def detect(self, decoded: DecodedVideo) -> list[Detection]:
        """Abnormal regions on the frames decoded for the detector; none when the manifest has no detector.

        Raises:
            BadVideo: the detector's scores of this video are not finite.
            Transient: no detector became free in time, or (DeviceLost) the device failed.
        """
        spec = self.manifest.detector
        if spec is None:
            return []
        request = self.manifest.detection(frozenset({spec.switch}))
        with self.detectors.acquire(spec.name, self.timeout_seconds) as detector:
            clips = [clip for clip in decoded.clips if clip.request == request]
            return [found for clip in clips for found in detector.detect(decoded, clip)]

    def counters(self) -> Mapping[str, BatchCounters | PoolCounters]:
        """Batcher or pool name -> its counters."""
        return {**{one.batcher.name: one.batcher.counters() for one in self.engines}, **self.detectors.counters()}

    def close(self) -> None:
        """Run what is queued, then end every thread."""
        for engine in self.engines:
            engine.batcher.close()
        self.settings.close()

    @cached_property
    def _engine_of(self) -> Mapping[str, int]:
        return {head: place for place, engine in enumerate(self.engines) for head in engine.heads}

    def _maker(self, head: str) -> str:
        return self.engines[self._engine_of[head]].makers[head]

    def _passes(self, decoded: DecodedVideo, outputs: Sequence[Output]) -> dict[_Pass, list[str]]:
        """Each distinct pass -> the heads that use its tokens."""
        passes: dict[_Pass, list[str]] = {}
        for output in outputs:
            for place in _clips_of(decoded, output):
                one = _Pass(self._engine_of[output.head], place, output.is_reversed)
                heads = passes.setdefault(one, [])
                if output.head not in heads:
                    heads.append(output.head)
        return passes

    def _submit(self, decoded: DecodedVideo, one: _Pass, heads: Sequence[str]) -> Future[Answer]:
        clip = decoded.clips[one.clip]
        if (
            len(clip.indices) != clip.request.num_frames
        ):  # its batch would fail, or it would get the scores of another clip
            raise ValueError(f"a clip of {clip.request.num_frames} frames was decoded to {len(clip.indices)}")
        frames = decoded.pictures[clip.request.picture].frames
        is_pinned = is_gpu(self.device)
        with device_faults():  # pinned memory can run out too
            gathered = gather_clip(frames, clip.indices, is_reversed=one.is_reversed, is_pinned=is_pinned)
        return self.engines[one.engine].batcher.submit(gathered, heads)

    def _spare_memory(self) -> None:
        every = self.manifest.spec.compute.empty_cache_videos
        if every and next(self._scored) % every == 0:
            self.give_back_memory()

    def _wait(self, future: Future[Answer]) -> Answer:
        try:
            return future.result(self.timeout_seconds)
        except TimeoutError as error:
            raise Transient(f"no scores within {self.timeout_seconds} s; retry, or lower the concurrency") from error

    def _scores(self, decoded: DecodedVideo, output: Output, answers: Mapping[_Pass, Answer]) -> tuple[Scores, ...]:
        engine = self._engine_of[output.head]
        return tuple(
            _label(decoded.clips[place], output, answers[_Pass(engine, place, output.is_reversed)])
            for place in _clips_of(decoded, output)
        )

    def _vectors(self, decoded: DecodedVideo, output: Output, answers: Mapping[_Pass, Answer]) -> Vectors:
        engine, maker = self._engine_of[output.head], self._maker(output.head)
        found = [answers[_Pass(engine, place, output.is_reversed)] for place in _clips_of(decoded, output)]
        named = next(name for name in found[0] if self._maker(name.removeprefix(VECTORS)) == maker)
        return np.stack([answer[named] for answer in found])

    def _classified(self, decoded: DecodedVideo, output: Output, vectors: Vectors) -> tuple[Scores, ...]:
        model = self.engines[self._engine_of[output.head]].model
        with device_faults(), torch.inference_mode():
            on_device = torch.from_numpy(vectors).to(self.device)
            probabilities = model.probabilities_of(output.head, on_device).cpu().numpy()
        if not np.isfinite(probabilities).all():
            message = f"the scores of {output.head} are not finite on this video"
            raise BadVideo(VideoFault.SCORES_NOT_FINITE, message)
        clips = [decoded.clips[place] for place in _clips_of(decoded, output)]
        pairs = zip(clips, probabilities, strict=True)
        return tuple(_label(clip, output, {output.head: one}) for clip, one in pairs)


def _clips_of(decoded: DecodedVideo, output: Output) -> list[int]:
    places = [place for place, clip in enumerate(decoded.clips) if clip.request == output.request]
    if not places:
        raise ValueError(f"the video was decoded without clips for {output.key}; decode with the manifest's own plan")
    return places


def _label(clip: Clip, output: Output, answer: Answer) -> Scores:
    probabilities = dict(zip(output.labels, answer[output.head].tolist(), strict=True))
    first = probabilities[output.labels[0]]
    is_unsure = output.unsure is not None and output.unsure[0] < first < output.unsure[1]
    return Scores(clip.start_seconds, clip.end_seconds, probabilities, is_unsure=is_unsure)


@contextmanager
def _cancelling() -> Iterator[dict[_Pass, Future[Answer]]]:
    """Futures that are cancelled when the block ends, as after a failure the others are not needed."""
    futures: dict[_Pass, Future[Answer]] = {}
    try:
        yield futures
    finally:
        for future in futures.values():
            future.cancel()
