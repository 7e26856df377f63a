"""One process's share of an extraction: it claims videos one by one, and skips those whose features are there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from inference.cores import usable_cores
from inference.errors import BadVideo
from inference.features.plan import FeaturePlan
from inference.features.validation import Agreement, compare
from inference.features.work_clock import Activity, WorkClock
from storage.features.cache import CacheCounters, FeatureCache
from storage.features.claims import Claims
from storage.features.files import (
    FailureRecord,
    feature_path,
    is_complete,
    is_known_failure,
    read_features,
    write_failure,
    write_features,
)
from tasks.extraction.order import ExtractionOrder, VideoFile
from tasks.features import obtain
from tasks.resources.redis import open_feature_cache
from tasks.resources.weights import fetch_weights
from tasks.settings import Settings, decoder_environ

if TYPE_CHECKING:  # only the processes that extract load torch
    from inference.decode import DecoderPool
    from inference.features.extract import Extractor

REPORT_SECONDS = 0.5  # between reports
UNREADABLE = "unreadable"  # code of a video that the system cannot read


class Outcome(StrEnum):
    """Ends of a video in one run; where processes report different ones, the first of these counts."""

    EXTRACTED = "extracted"
    FAILED = "failed"
    SKIPPED = "already there"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareProgress:
    """A process's work so far."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)  # of the videos finished since the last report
    clips: int = 0
    batches: int = 0  # handed to the device
    plan: FeaturePlan | None = None  # None: before the encoder is open
    wall_seconds: Mapping[str, float] = field(default_factory=dict)  # by activity
    thread_seconds: Mapping[str, float] = field(default_factory=dict)  # by activity, threads added
    cache: CacheCounters | None = None  # None: there is no cache
    is_complete: bool = False  # every video of the order is finished, by this process or another one
    opening: str = ""  # encoder, device and plan, in one line


Report = Callable[[ShareProgress], None]


def do_share(order: ExtractionOrder, place: tuple[int, int], device: str, settings: Settings, report: Report) -> None:
    """Extract features until every video of the order is finished by this process or another one.

    ``place`` is this process's number and the number of processes: it begins with every n-th video, then helps with
    the others'. Raises ``ManifestError``, ``Unavailable`` (full disk) and ``Transient``.
    """
    clock = WorkClock()
    with ExitStack() as opened:
        with clock.measuring(Activity.START):
            extractor = opened.enter_context(closing(_open_extractor(order, device, place[1], settings, clock)))
        decoder = opened.enter_context(closing(_open_decoder(settings, place[1])))
        cache = open_feature_cache(settings)
        if cache is not None:
            opened.callback(cache.close)
        share = _Share(order, extractor, decoder, opened.enter_context(Claims(order.save_path)), cache)
        opened.enter_context(_reporting(share.take_progress, report))
        busy_elsewhere = share.work(_own_first(order.videos, *place), waits=False)
        share.work(busy_elsewhere, waits=True)
    report(replace(share.take_progress(), is_complete=True))


class _Share:
    def __init__(
        self,
        order: ExtractionOrder,
        extractor: Extractor,
        decoder: DecoderPool,
        claims: Claims,
        cache: FeatureCache | None,
    ) -> None:
        self._order, self._extractor, self._decoder, self._claims = order, extractor, decoder, claims
        self._cache = cache
        self._clips, self._outcomes = 0, dict[str, Outcome]()
        self._lock = threading.Lock()

    def work(self, videos: Sequence[VideoFile], *, waits: bool) -> list[VideoFile]:
        """Finish the videos, several at once; return those that other processes have claimed."""
        with ThreadPoolExecutor(self._order.decoder_threads, thread_name_prefix="video") as threads:
            try:
                left = list(threads.map(lambda video: self._finish_claimed(video, waits=waits), videos))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
        return [video for video in left if video is not None]

    def take_progress(self) -> ShareProgress:
        """Return the times so far, and the outcomes since the last call."""
        clock = self._extractor.clock
        with self._lock:
            outcomes, self._outcomes = self._outcomes, {}
            return ShareProgress(
                outcomes=outcomes,
                clips=self._clips,
                batches=self._extractor.counters()["batches"] - 1,  # the first one was empty
                plan=self._extractor.plan,
                wall_seconds=clock.wall_seconds(),
                thread_seconds=clock.thread_seconds(),
                opening=self._extractor.description,
                cache=self._cache.counters if self._cache else None,
            )

    def _finish_claimed(self, video: VideoFile, *, waits: bool) -> VideoFile | None:
        with self._claims.claimed(video.name, waits=waits) as is_ours:
            if not is_ours:
                return video
            self._finish(video)
            return None

    def _finish(self, video: VideoFile) -> None:
        """Leave the video's features, or a note of its failure, in the folder."""
        content = ""
        try:
            with self._extractor.clock.measuring(Activity.READ):
                content = _digest(video.path)
                earlier = self._earlier_outcome(video, content)
            if earlier is not None:
                self._note(video, earlier)
                return
            record, values = obtain(video.name, video.path, content, self._extractor, self._decoder, self._cache)
        except (BadVideo, OSError) as error:
            self._fail(video, content, error)
            return
        with self._extractor.clock.measuring(Activity.SAVE):
            write_features(self._order.save_path, record, values, self._order.file_format)
        self._note(video, Outcome.EXTRACTED, clips=len(values))

    def _earlier_outcome(self, video: VideoFile, content_sha256: str) -> Outcome | None:
        root, plan_digest = self._order.save_path, self._extractor.plan.digest
        if is_complete(self._path(video), plan_digest, self._extractor.digest, content_sha256):
            return Outcome.SKIPPED
        return Outcome.FAILED if is_known_failure(root, video.name, plan_digest, content_sha256) else None

    def _fail(self, video: VideoFile, content_sha256: str, error: BadVideo | OSError) -> None:
        failure = FailureRecord(
            video=video.name,
            code=error.code if isinstance(error, BadVideo) else UNREADABLE,
            message=str(error),
            content_sha256=content_sha256 if isinstance(error, BadVideo) else "",
            plan_digest=self._extractor.plan.digest,
        )
        write_failure(self._order.save_path, failure, outdated=[self._path(video)])
        self._note(video, Outcome.FAILED)

    def _path(self, video: VideoFile) -> Path:
        return feature_path(self._order.save_path, video.name, self._order.file_format)

    def _note(self, video: VideoFile, outcome: Outcome, clips: int = 0) -> None:
        with self._lock:
            self._outcomes[video.name] = outcome
            self._clips += clips


def _open_extractor(
    order: ExtractionOrder, device: str, processes: int, settings: Settings, clock: WorkClock
) -> Extractor:
    from inference.features.open import open_extractor
    from inference.manifest import load_manifest

    return open_extractor(
        order.encoder,
        order.options,
        fetch_weights(load_manifest(settings.models.manifest), settings),
        device=device,
        threads=settings.models.threads or max(1, usable_cores() // processes),
        batch_clips=order.batch_clips,
        is_compiled=order.is_compiled,
        clock=clock,
    )


def _open_decoder(settings: Settings, processes: int) -> DecoderPool:
    """Open this process's part of the machine's decoders."""
    from inference.decode import DecoderPool

    return DecoderPool(
        decoder_processes(settings, processes),
        settings.decode.limits,
        decoder=settings.decode.decoder,
        environ=decoder_environ(settings.decode.decoder),
    )


def validate(order: ExtractionOrder, videos: Sequence[VideoFile], device: str, settings: Settings) -> Agreement:
    """Extract the videos once more with a float32 forward pass, and compare the stored features with those."""
    exact = replace(order, options=replace(order.options, precision="float32", dtype="float32"), is_compiled=False)
    with ExitStack() as opened:
        extractor = opened.enter_context(closing(_open_extractor(exact, device, 1, settings, WorkClock())))
        decoder = opened.enter_context(closing(_open_decoder(settings, 1)))
        paths = [feature_path(order.save_path, video.name, order.file_format) for video in videos]
        return compare(
            (read_features(path)[1], extractor.extract(video.path, decoder).values)
            for path, video in zip(paths, videos, strict=True)
        )


def decoder_processes(settings: Settings, processes: int) -> int:
    """Return how many decoder processes each of ``processes`` starts."""
    return max(1, settings.decode.processes // processes)


def _own_first(videos: Sequence[VideoFile], number: int, processes: int) -> list[VideoFile]:
    """Order the videos so that processes begin with different ones."""
    return [video for turn in range(processes) for video in videos[(number + turn) % processes :: processes]]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _reporting(take_progress: Callable[[], ShareProgress], report: Report) -> Iterator[None]:
    """Report now and then beside the work, and once at its end."""
    is_over = threading.Event()

    def tell() -> None:
        while not is_over.wait(REPORT_SECONDS):
            report(take_progress())

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        is_over.set()
        teller.join()
        report(take_progress())
