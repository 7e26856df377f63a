"""A probe of an input table: headers of sampled rows' videos, and a few of them judged one at a time."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.errors import BadVideo, Transient
from inference.types import ClipRequest, DecodePlan, Fit, PictureSpec, Scope
from storage.errors import StorageError
from storage.objects.protocol import ObjectStore
from storage.records import Record, VideoRow
from storage.tables.protocol import InputTable
from storage.uri import ObjectUri, check_object
from tasks.estimate.cost import JudgedVideo, VideoSize, spread
from tasks.estimate.estimate import Sample

if TYPE_CHECKING:
    from inference.decode import DecoderPool
    from inference.judge import Judge
    from inference.types import VideoProbe

SEED = 20250115  # the same table gives the same sample
HEADER = DecodePlan((ClipRequest(Scope.WHOLE, PictureSpec(32, 32, Fit.SQUASH), 1),))  # facts of all packets, one frame
DECODING = ("probe", "decode", "crop")  # stages of decoder processes
DEVICE = ("detect", "score", "signals")  # stages of the judging process


@dataclass(frozen=True, slots=True)
class ProbedVideo:
    """A sampled row's video: where it is and its facts, or the code of the failure."""

    uri: ObjectUri | None
    size: VideoSize | None
    code: str = ""


def sampled_records(table: InputTable, count: int) -> Iterator[Record]:
    """Yield ``count`` rows of the table, chosen at random but always the same, in order; all rows of a shorter one."""
    total = table.count_rows()
    chosen = sorted(random.Random(SEED).sample(range(total), min(count, total)))  # noqa: S311 - a sample, no secret
    for ordinal in chosen:
        yield from table.read_rows(ordinal, 1)


def probe_videos(
    records: Sequence[Record], store: ObjectStore, pool: DecoderPool, threads: int, buckets: frozenset[str] | None
) -> Iterator[ProbedVideo]:
    """Yield the facts of each row's video, several at a time, in the order of the rows."""
    with ThreadPoolExecutor(threads, thread_name_prefix="estimate") as executor:
        yield from executor.map(lambda record: _probe(record, store, pool, buckets), records)


def judge_some(
    sizes: Sequence[tuple[ObjectUri, VideoSize]],
    count: int,
    store: ObjectStore,
    judge: Judge,
    switches: frozenset[str],
    report: Callable[[], object] = lambda: None,
) -> Iterator[tuple[JudgedVideo, str | None]]:
    """Judge ``count`` videos, spread over codecs and sizes, one at a time; yield their costs and their decision."""
    for index in spread([size for _, size in sizes], count):
        uri, size = sizes[index]
        try:
            with _fetched(uri, store) as path:
                verdict = judge.judge(path, switches)
        except (StorageError, BadVideo, Transient):
            continue  # the fleet would record it as a failure; the others tell the costs
        finally:
            report()
        if verdict.crop is not None:
            with closing(verdict.crop):
                pass
        seconds = {stage: milliseconds / 1000 for stage, milliseconds in verdict.milliseconds.items()}
        decode, device = (sum(seconds.get(stage, 0.0) for stage in stages) for stages in (DECODING, DEVICE))
        keep = str(verdict.decision["keep"]) if verdict.decision else None
        yield JudgedVideo(size, decode, device), keep


def sample_of(probed: Sequence[ProbedVideo], keeps: Sequence[str | None]) -> Sample:
    """Return the sample of probed videos and the decisions of the judged ones."""
    known = [keep for keep in keeps if keep is not None]
    return Sample(
        sizes=tuple(one.size for one in probed if one.size is not None),
        failures=dict(Counter(one.code for one in probed if one.size is None).most_common()),
        keep_share=known.count("keep") / len(known) if known else None,
    )


def _probe(record: Record, store: ObjectStore, pool: DecoderPool, buckets: frozenset[str] | None) -> ProbedVideo:
    try:
        row = VideoRow.from_record(record, run_id="estimate", ordinal=0)
        uri = check_object(row.oss_bucket, row.video_path, allowed_buckets=buckets)
        with _fetched(uri, store) as path:
            return ProbedVideo(uri, size_of(pool.decode(path, HEADER).probe))
    except (StorageError, BadVideo, Transient) as error:
        return ProbedVideo(None, None, error.code)


def size_of(probe: VideoProbe) -> VideoSize:
    """Return the facts of a probed file that predict its work."""
    pixels = probe.frame_count * probe.width * probe.height
    return VideoSize(probe.codec, probe.duration_seconds, pixels / 1e6, probe.size_bytes)


@contextmanager
def _fetched(uri: ObjectUri, store: ObjectStore) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tamis-estimate-") as scratch:
        path = Path(scratch, "video")
        with path.open("wb") as file:
            store.fetch(uri, store.stat(uri), file)
        yield path
