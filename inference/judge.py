"""Judge a video: decode, detect abnormal regions, crop, score.

:func:`open_judge` opens a manifest's models and a decoder; :func:`judge_video` takes them as arguments.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from inference.decide import Thresholds, decide
from inference.decode.options import DecodeLimits, default_processes
from inference.manifest import Manifest, Output, load_manifest
from inference.region import CropRule, NoCrop, decide_crop
from inference.types import ClipRequest, Crop, CroppedVideo, DecodedVideo, DecodePlan, Detection, Scores, Verdict
from inference.verdict import Regions, rounded, signals_info, verdict_info

if TYPE_CHECKING:  # importing this module loads neither torch nor PyAV
    from inference.decode import DecoderPool
    from inference.models.build import Models
    from inference.reuse.needs import VectorScorer
    from inference.reuse.pieces import Memory
    from inference.signal_scores import SignalValues

T = TypeVar("T")
Measure = Callable[[DecodedVideo, Sequence[Output]], "SignalValues"]
"""Measures the signals of a decoded video that outputs read."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Warm models and decoder processes of a manifest. Thread-safe; close it, or use it in a ``with`` statement."""

    manifest: Manifest
    decoder: DecoderPool
    models: Models
    memory: Memory | None = None  # of what is known of videos: those that it knows are not decoded

    def judge(
        self, path: str | Path, switches: Iterable[str] | None = None, *, has_thumbnails: bool = False
    ) -> Verdict:
        """Judge the video file at ``path`` with the filters of ``switches``, by default with all filters.

        The caller closes the verdict's ``crop`` if there is one. With ``has_thumbnails`` the pass that decodes the
        video makes a strip of frames, too.

        Raises:
            ManifestError: a switch is unknown, or ``switches`` is empty.
            BadVideo: the file cannot be judged; ``code`` is the reason.
            OSError: the file cannot be read.
            Transient: no model became free in time, or (DeviceLost) the device failed.
        """
        enabled = frozenset(self.manifest.switches if switches is None else switches)
        if not has_thumbnails:
            return self._judge(Path(path), enabled, self.decoder)
        from inference.stills.strip import ThumbnailDecoder

        decoder = ThumbnailDecoder(self.decoder)
        return replace(self._judge(Path(path), enabled, decoder), thumbnails=decoder.thumbnails)

    def _judge(self, path: Path, enabled: frozenset[str], decoder: IdentifiedDecoder) -> Verdict:
        if self.memory is None:
            return judge_video(path, enabled, self.manifest, decoder, self.models)
        return judge_with_memory(path, enabled, self.manifest, decoder, self.models, self.memory)

    def close(self) -> None:
        """End the decoder processes and free the models."""
        self.decoder.close()
        self.models.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_judge(
    manifest: Manifest | str | Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    decoder: str = "pyav",
    decoder_processes: int | None = None,
    limits: DecodeLimits | None = None,
    scratch: Path | None = None,
    decoder_environ: Mapping[str, str] | None = None,
    warms_up: bool = False,
) -> Judge:
    """Load the models of ``manifest``; decoder processes start at the first video.

    ``manifest`` is a loaded manifest, the name of a built-in one (``"tiny"``, ``"production"``), or the path of a
    TOML file. ``device`` is ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``. ``threads`` is the number of
    CPU threads for the models, of the whole process; None: torch's own, at most the usable cores. ``decoder`` is
    ``"pyav"``, ``"decord"`` or ``"nvdec"``, run in ``decoder_processes`` processes (default: one per core, at most 8
    for ``"nvdec"``) under ``limits``. Files of crops are made in ``scratch`` (default: the temporary directory),
    without names. ``decoder_environ`` is the whole environment of the decoder processes, which ``"nvdec"`` needs to
    find its GPU. ``warms_up`` runs every model once with every batch size, so that the first video is not slower than
    later ones.

    Raises:
        ManifestError: the manifest, a checkpoint or the device is wrong; the message names the remedy.
        Transient: the device's memory is full, or (DeviceLost) the device failed.
        ImportError: a package of the ``gpu`` extra is not installed.
    """
    from inference.decode import DecoderPool
    from inference.models.build import open_models

    loaded = manifest if isinstance(manifest, Manifest) else load_manifest(manifest)
    with ExitStack() as undo:
        models = undo.enter_context(closing(open_models(loaded, device=device, threads=threads)))
        if warms_up:
            models.warm_up()
        size = decoder_processes or default_processes(decoder)
        pool = DecoderPool(size, limits, decoder, scratch=scratch, environ=decoder_environ)
        undo.pop_all()
    return Judge(loaded, pool, models)


RECALL, REMEMBER = "recall", "remember"  # stages: of a video that is not decoded, and of one that is kept in mind


class Decoder(Protocol):
    """Turns a file into frames; :class:`inference.decode.DecoderPool` is the implementation."""

    def decode(self, path: Path, plan: DecodePlan) -> DecodedVideo:
        """Decode everything that the plan requests, in one pass."""
        ...

    def crop(self, path: Path, plan: DecodePlan, crop: Crop) -> CroppedVideo:
        """Decode a part of the picture as the plan requests, and encode that part as a video."""
        ...


class IdentifiedDecoder(Decoder, Protocol):
    """A decoder that says what determines the pixels of its frames."""

    @property
    def identity(self) -> str:
        """Name of the decoder and its limits."""
        ...


class Scorer(Protocol):
    """Scores frames; :class:`inference.models.scoring.Models` is the implementation."""

    @property
    def digests(self) -> Mapping[str, str]:
        """Filter -> SHA-256 (hex) of its weights."""
        ...

    @property
    def untrained(self) -> frozenset[str]:
        """Names of the filters with seeded weights."""
        ...

    def score(self, decoded: DecodedVideo, enabled: frozenset[str]) -> Mapping[str, Sequence[Scores]]:
        """Output key of a filter with a head -> one :class:`Scores` per clip, in time order."""
        ...

    def detect(self, decoded: DecodedVideo) -> list[Detection]:
        """Boxes of abnormal regions, in pixels of the source picture."""
        ...


def judge_video(
    path: Path,
    enabled: frozenset[str],
    manifest: Manifest,
    decoder: Decoder,
    scorer: Scorer,
    measure: Measure | None = None,
) -> Verdict:
    """Decode the video, detect abnormal regions, and score the crop without them, or the whole picture without a crop.

    A crop is encoded and scored in a second pass over the file. The caller closes the verdict's crop. ``measure``
    measures signals, by default :func:`inference.signal_scores.measure_signals`.

    Raises:
        ManifestError: a switch is unknown, or none is on.
        BadVideo: the file is the reason.
        Transient: no model became free in time, or (DeviceLost) the device failed.
    """
    plan = manifest.decode_plan(enabled)
    decoded = decoder.decode(path, plan)
    probe, milliseconds = decoded.probe, dict(decoded.milliseconds)
    regions, encoded = None, None
    with ExitStack() as undo:
        if (request := manifest.detection(enabled)) is not None:
            regions = _find_regions(decoded, request, manifest, scorer, milliseconds)
        if regions is not None and (crop := regions.decision.made) is not None:
            del decoded  # its frames would stay in memory beside the crop's
            cropped = decoder.crop(path, DecodePlan(tuple(one for one in plan.requests if one != request)), crop)
            decoded, encoded = cropped.decoded, undo.enter_context(closing(cropped.encoded))
            milliseconds |= decoded.milliseconds
        signals = _measure_signals(decoded, manifest, enabled, measure, milliseconds)
        scores = _timed("score", milliseconds, lambda: scorer.score(decoded, enabled))
        undo.pop_all()
    judged = manifest.enabled_filters(enabled)
    scores = scores if signals is None else {**scores, **_score_signals(signals, decoded, manifest, enabled)}
    info = verdict_info(manifest.outputs(enabled), scores, regions)
    return Verdict(
        info=info if signals is None else info | signals_info(signals.whole, signals.windows),
        milliseconds=milliseconds,
        models={name: scorer.digests[name] for name in judged},
        is_untrained=not scorer.untrained.isdisjoint(judged),
        decoded_fraction=decoded.decoded_fraction,
        video=probe,
        decision=_decision(scores, manifest, enabled),
        crop=encoded,
    )


def judge_with_memory(
    path: Path,
    enabled: frozenset[str],
    manifest: Manifest,
    decoder: IdentifiedDecoder,
    scorer: VectorScorer,
    memory: Memory,
) -> Verdict:
    """Judge as :func:`judge_video` does, from what is remembered of the file's content, or decode and remember it.

    The stage ``recall`` stands in the place of all others of a video that was not decoded, but for ``score``.
    """
    from inference.reuse.needs import needs_of
    from inference.reuse.observer import Observer
    from inference.reuse.recollection import NeedsPixels, Recollection

    spent: dict[str, float] = {}
    needs = needs_of(manifest, enabled, scorer, decoder.identity)
    content = _timed(RECALL, spent, lambda: _content_digest(path))
    known = _timed(REMEMBER, spent, lambda: Recollection.of(memory, content, needs, scorer))
    searched = spent[RECALL] + spent[REMEMBER]
    if known is not None:
        with suppress(NeedsPixels):
            verdict = judge_video(path, enabled, manifest, known, known, known.measure)
            return replace(verdict, milliseconds={RECALL: searched, "score": verdict.milliseconds["score"]})
    observer, clock = Observer(decoder, scorer, needs), time.perf_counter()
    verdict = judge_video(path, enabled, manifest, observer, observer, observer.measure)
    seconds = time.perf_counter() - clock
    _timed(REMEMBER, spent, lambda: observer.remember(memory, content, seconds))
    return replace(verdict, milliseconds={**verdict.milliseconds, REMEMBER: searched + spent[REMEMBER]})


def _content_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _decision(
    scores: Mapping[str, Sequence[Scores]], manifest: Manifest, enabled: frozenset[str]
) -> dict[str, object] | None:
    """Decide by the manifest's thresholds of the enabled outputs, on the probabilities that are written."""
    if not manifest.spec.thresholds:
        return None
    thresholds = Thresholds.of(manifest.spec.thresholds).only(output.key for output in manifest.outputs(enabled))
    written = {key: [rounded(one.probabilities) for one in clips] for key, clips in scores.items()}
    return decide(written, thresholds).to_json()


def _measure_signals(
    decoded: DecodedVideo,
    manifest: Manifest,
    enabled: frozenset[str],
    measure: Measure | None,
    milliseconds: dict[str, float],
) -> SignalValues | None:
    """Measure the signals if an enabled filter needs them."""
    outputs = [output for output in manifest.outputs(enabled) if output.reads_signals]
    if not outputs:
        return None
    from inference.signal_scores import measure_signals

    return _timed("signals", milliseconds, lambda: (measure or measure_signals)(decoded, outputs))


def _score_signals(
    signals: SignalValues, decoded: DecodedVideo, manifest: Manifest, enabled: frozenset[str]
) -> Mapping[str, Sequence[Scores]]:
    from inference.signal_scores import score_signals

    outputs = [output for output in manifest.outputs(enabled) if output.reads_signals]
    return score_signals(signals, decoded.probe.duration_seconds, outputs, manifest.signal_rules)


def _timed(stage: str, milliseconds: dict[str, float], work: Callable[[], T]) -> T:
    begin = time.perf_counter()
    answer = work()
    milliseconds[stage] = (time.perf_counter() - begin) * 1000
    return answer


def _find_regions(
    decoded: DecodedVideo, request: ClipRequest, manifest: Manifest, scorer: Scorer, milliseconds: dict[str, float]
) -> Regions:
    detections = _timed("detect", milliseconds, lambda: scorer.detect(decoded))
    (clip,) = (clip for clip in decoded.clips if clip.request == request)
    frame_seconds = decoded.pictures[request.picture].pts_seconds[clip.indices].tolist()
    rule, probe = _crop_rule(manifest, scorer), decoded.probe
    return Regions(
        detections, frame_seconds, decide_crop(detections, len(frame_seconds), probe.width, probe.height, rule)
    )


def _crop_rule(manifest: Manifest, scorer: Scorer) -> CropRule:
    spec = manifest.detector
    if spec is None:
        raise ValueError("a manifest without a detector has no crop rule")
    refusal = NoCrop.UNTRAINED if spec.name in scorer.untrained else None
    if spec.is_record_only:
        refusal = NoCrop.RECORD_ONLY
    return CropRule(
        min_presence=spec.min_presence,
        min_share=spec.min_crop_share,
        min_frames=spec.min_frames,
        margin=spec.crop_margin,
        labels=spec.labels_to_crop,
        refusal=refusal,
    )
