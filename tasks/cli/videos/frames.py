"""``tamis frames``: pictures of a video's frames, of a stream or of a camera."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from celery.bin.base import CeleryCommand

from inference.cores import usable_cores
from inference.errors import BadVideo
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, settings

if TYPE_CHECKING:
    from inference.stills.pictures import StillSize

FORMATS = ("png", "jpg", "webp")


@click.command(cls=CeleryCommand)
@click.option(
    "-i", "--input", "source", required=True, metavar="VIDEO", help="A file, a stream's URL or a camera's number."
)
@click.option(
    "-o",
    "--output",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the pictures.",
)
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Pictures a second; default: 1.")
@click.option("--every", type=click.IntRange(min=1), help="One frame in so many, instead of --fps.")
@click.option("--scene", "is_by_scene", is_flag=True, help="The first frame of every scene, instead of --fps.")
@click.option("--prefix", default="frame_", show_default=True, help="Beginning of the pictures' names.")
@click.option(
    "--format", "still_format", type=click.Choice(FORMATS), default="png", show_default=True, help="Of the pictures."
)
@click.option(
    "--size",
    metavar="WIDTH[xHEIGHT]",
    help="In pixels; without a height the aspect ratio is kept; default: the video's.",
)
@click.option(
    "--processes", type=click.IntRange(min=1), help="That split a file at its key frames; default: one for each core."
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Of a stream or a camera; needed there.")
@json_option
@clear_errors
def frames(
    source: str,
    directory: Path,
    fps: float | None,
    every: int | None,
    is_by_scene: bool,
    processes: int | None,
    seconds: float | None,
    is_json: bool,
    **form: Any,
) -> None:
    """Write frames as pictures named by prefix, number and time: frame_000001_0.000s.png.

    Several processes write the same files as one.
    """
    from inference.stills.live import is_live, write_live_stills
    from inference.stills.parts import StillTarget
    from inference.stills.pictures import StillFormat
    from inference.stills.selection import StillChoice
    from inference.stills.write import write_stills

    if sum([fps is not None, every is not None, is_by_scene]) > 1:
        raise OneLine("--fps, --every and --scene exclude each other: give one")
    choice = StillChoice(
        frames_per_second=fps if every or is_by_scene else fps or 1.0, every=every, is_by_scene=is_by_scene
    )
    target = StillTarget(
        directory, _checked_prefix(form["prefix"]), StillFormat(form["still_format"]), _size(form["size"])
    )
    if is_live(source) and seconds is None:
        raise OneLine(f"{source} has no end: say how long to take frames, for example --seconds 60")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if seconds is not None and is_live(source):
            written = list(write_live_stills(source, choice, target, seconds))
        else:
            limits = settings().decode.limits
            written = write_stills(Path(source), choice, target, processes or usable_cores(), limits)
    except BadVideo as error:
        raise OneLine(f"{source}: {error.code}: {error}") from error
    except OSError as error:
        raise OneLine(f"{error.filename or source}: {error.strerror or error}") from error
    if is_json:
        print_json({"pictures": len(written), "directory": directory.absolute()})
    else:
        print_line(open_console(), f"{len(written)} pictures in {directory}")


def _checked_prefix(prefix: str) -> str:
    if "/" in prefix or "\0" in prefix:
        raise OneLine(f"--prefix {prefix!r} must be part of a name, without slashes")
    return prefix


def _size(text: str | None) -> StillSize | None:
    from inference.stills.pictures import StillSize

    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if found is None:
        raise OneLine(f"--size {text!r}: write a width, or WIDTHxHEIGHT, in pixels")
    return StillSize(int(found[1]), int(found[2]) if found[2] else None)
