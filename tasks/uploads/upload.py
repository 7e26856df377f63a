"""Upload what a verdict comes with: its crop and its strip of thumbnails. Repeated, this has no further effect."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from storage.objects.protocol import ObjectStore
from storage.records import VideoRow
from storage.uri import ObjectUri, check_object
from tasks.messages import RowMessage
from tasks.settings import Settings
from tasks.uploads.thumbnails import store_strip

if TYPE_CHECKING:  # torch stays out of io, results and beat processes
    from inference.types import Verdict

Address = dict[str, Any]  # of the strip and the times of its frames, for ``result_info``


def upload(row: RowMessage, verdict: Verdict, origin: ObjectStore, settings: Settings) -> tuple[Verdict, Address]:
    """Upload the crop and the thumbnails, if there are any; return the verdict with the crop's address, and theirs.

    Keys are made of the content, so what is made again is the same object. Both are there before the result that names
    them is recorded.
    """
    verdict = _with_crop(row, verdict, origin, settings)
    made, place = verdict.thumbnails, settings.thumbnails.place
    if made is None or place is None:
        return verdict, {}
    clock = time.perf_counter()
    address = {"url": store_strip(made.jpeg, place, origin), "frame_seconds": list(made.frame_seconds)}
    milliseconds = (time.perf_counter() - clock) * 1000 + verdict.milliseconds.get("upload", 0.0)
    return replace(verdict, milliseconds={**verdict.milliseconds, "upload": milliseconds}), address


def _with_crop(row: RowMessage, verdict: Verdict, origin: ObjectStore, settings: Settings) -> Verdict:
    from inference.verdict import with_crop

    if verdict.crop is None:
        return verdict
    with closing(verdict.crop) as crop:
        clock = time.perf_counter()
        uri = _crop_uri(row, crop.digest, settings)
        origin.put(crop.path, uri)
        milliseconds = (time.perf_counter() - clock) * 1000
        return with_crop(verdict, crop, str(uri), milliseconds)


def _crop_uri(row: RowMessage, digest: str, settings: Settings) -> ObjectUri:
    bucket = (
        settings.crops.bucket or VideoRow.from_record(row.record, run_id=row.run_id, ordinal=row.ordinal).oss_bucket
    )
    return check_object(bucket, f"{settings.crops.prefix}/{digest}.mp4", allowed_buckets=None)
