"""Three bad files among thirteen, with each contestant's defaults: a table of what a user gets back."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.fleet import BASELINE, OURS
from bench.harness import Absent
from bench.peers.environment import REQUIREMENTS, interpreter
from bench.peers.job import SHORT_SOURCES, SOURCES, Row
from bench.peers.serving import contestant
from bench.peers.tamis_fleet import tamis_fleet
from bench.stored import store_figures
from tests.media import real_clip

CONTESTANTS = (OURS, BASELINE, "celery_chain", *REQUIREMENTS)
SHORT_CONTESTANTS = (BASELINE,)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows that a contestant gave back for files of which some are bad."""

    contestant: str
    rows: int
    ok: int
    failed: int  # with a reason
    ending: str  # of the job

    @property
    def lost(self) -> int:
        """Rows without any answer."""
        return self.rows - self.ok - self.failed


def report(*, is_short: bool) -> str:
    """Return the table and the bench's line."""
    with tempfile.TemporaryDirectory(prefix="tamis-bench-bad-") as name:
        paths = write_files(Path(name), SHORT_SOURCES if is_short else SOURCES)
        outcomes = [outcome_of(one, paths) for one in (SHORT_CONTESTANTS if is_short else CONTESTANTS)]
    if not is_short:
        store_figures("badfiles", outcomes)
    console = Console(file=io.StringIO(), record=True, width=150)
    console.print(table(outcomes))
    words = " ".join(f"{one.contestant}_lost={one.lost}" for one in outcomes)
    return f"{console.export_text().rstrip()}\nbench badfiles: rows={len(paths)} {words}"


def write_files(folder: Path, sources: Iterable[str]) -> list[Path]:
    """Copy the clips, and put an empty file, half of a clip and a text among them."""
    good = [Path(shutil.copyfile(real_clip(name), folder / name)) for name in sources]
    (folder / "empty.mp4").touch()
    (folder / "half.mp4").write_bytes(good[0].read_bytes()[: good[0].stat().st_size // 2])
    (folder / "text.mp4").write_text("This is a text whose name ends in .mp4.\n" * 100, encoding="utf-8")
    return sorted(folder.iterdir())


def outcome_of(name: str, paths: Sequence[Path]) -> Outcome:
    """Judge the files with the contestant; a job that aborts gives no row back."""
    try:
        rows, ending = _rows(name, paths), "complete"
    except RuntimeError:
        rows, ending = [], "aborted"
    except Absent as absent:
        rows, ending = [], str(absent)
    ok = sum("info" in row for row in rows)
    return Outcome(name, len(paths), ok, sum(bool(row.get("error")) for row in rows), ending)


def _rows(name: str, paths: Sequence[Path]) -> list[Row]:
    if name == OURS:
        with tamis_fleet() as fleet:
            return fleet.judge_all(paths)
    with contestant(f"bench.peers.{name}", "judge", interpreter(name)) as ready:
        return ready.judge_all(paths)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Draw a line for each contestant."""
    drawn = Table("contestant", "rows in", "ok", "failed, with a reason", "lost", "the job", title="3 bad files of 13")
    for one in outcomes:
        drawn.add_row(one.contestant, *map(str, (one.rows, one.ok, one.failed, one.lost)), one.ending)
    return drawn
