"""The listing: an SQLite table with a row for each video, which grows and never changes a row.

A row's position is its identity, so that a second call goes on where the first one was: new videos are appended, and
so is a video whose content has changed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from storage.errors import Unavailable
from storage.uri import TableUrl
from tasks.sifting.videos import FoundVideo

FILE = "results.db"
BUSY_SECONDS = 30.0
SCHEMA = (
    "video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT, file_bytes INTEGER, "
    "file_version TEXT, UNIQUE (video_path, file_version)"
)


@dataclass(frozen=True, slots=True)
class Listing:
    """The input table of a source, and the output table beside it."""

    tables: str
    outputs: str
    rows: int
    added: int  # by this call


def extend_listing(folder: Path, selector: str, bucket: str, prefix: str, videos: Iterable[FoundVideo]) -> Listing:
    """Append the videos that the listing lacks; ``Unavailable`` if the file cannot be written."""
    path, table = folder / FILE, _table(selector)
    rows = [
        (video.name, bucket, f"{prefix}{video.name}", video.tag, json.dumps({}), video.size_bytes, video.version)
        for video in videos
    ]
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as db, db:
            db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({SCHEMA})")
            before = db.total_changes
            db.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608 - our name
            added = db.total_changes - before
            (total,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - likewise
    except sqlite3.Error as error:
        msg = f"{path} cannot be written: {error}"
        raise Unavailable(msg) from error
    tables, outputs = listing_urls(folder, selector)
    return Listing(tables, outputs, total, added)


def listing_urls(folder: Path, selector: str) -> tuple[str, str]:
    """Return the URLs of the input and of the output that a source has in a folder."""
    return _url(folder / FILE, _table(selector)), _url(folder / FILE, "results")


def _table(selector: str) -> str:
    return f"clips_{selector}" if selector else "clips"


def _url(path: Path, table: str) -> str:
    return str(TableUrl(scheme="sqlite", location=str(path), table=table))
