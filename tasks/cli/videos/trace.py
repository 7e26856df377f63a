"""``tamis trace``: the way of one video through the extraction of features, in time."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click
from celery.bin.base import CeleryCommand

from inference.errors import BadVideo
from inference.features.families import EncoderChoice, check_choice
from inference.features.options import PlanOptions
from inference.features.waterfall import chrome_trace, csv_lines, marks, waterfall
from inference.features.work_clock import Activity, Span, WorkClock
from storage.features.files import FileFormat, write_features
from tasks.cli.terminal.data_table import print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, settings
from tasks.features import obtain
from tasks.settings import Settings, decoder_environ

if TYPE_CHECKING:
    from inference.decode import DecoderPool

COUNT = click.IntRange(min=1)


@click.command(cls=CeleryCommand)
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--model_type", default="manifest", show_default=True, help="Encoder, as of `tamis features`.")
@click.option("--ckpt_path", help="Its checkpoint, as of `tamis features`.")
@click.option("--stride", type=COUNT, help="Frames from a clip's start to the next; default: clips do not overlap.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Also write the spans as CSV.")
@click.option("--chrome", "chrome_path", type=click.Path(path_type=Path), help="Also write them as a Chrome trace.")
@json_option
@clear_errors
def trace(
    video: Path,
    model_type: str,
    ckpt_path: str | None,
    stride: int | None,
    csv_path: Path | None,
    chrome_path: Path | None,
    is_json: bool,
) -> None:
    """Extract the features of VIDEO with a warm encoder, print when each step began and ended, and keep nothing."""
    choice = EncoderChoice(model_type=model_type, checkpoint=ckpt_path)
    check_choice(choice)
    try:
        spans, began, ended = traced(video, choice, stride, settings())
    except BadVideo as error:
        raise OneLine(f"{video}: {error.code}: {error}") from error
    except OSError as error:
        raise OneLine(f"{video}: {error.strerror or error}") from error
    if is_json:
        print_json({"video": str(video), "marks_milliseconds": marks(spans, began, ended), "spans": len(spans)})
    else:
        _print(spans, began, ended)
    if csv_path is not None:
        csv_path.write_text("\n".join(csv_lines(spans, began)) + "\n", encoding="utf-8")
    if chrome_path is not None:
        chrome_path.write_text(json.dumps(chrome_trace(spans, began)), encoding="utf-8")


def _print(spans: list[Span], began: float, ended: float) -> None:
    console = open_console()
    for mark, milliseconds in marks(spans, began, ended).items():
        print_line(console, f"{mark:<16}{milliseconds:>10.1f} ms")
    for line in waterfall(spans, began, ended):
        print_line(console, line)


def traced(video: Path, choice: EncoderChoice, stride: int | None, chosen: Settings) -> tuple[list[Span], float, float]:
    """Return the spans of one video, and when it began and ended, in seconds of the clock. Raises ``BadVideo``."""
    from inference.features.open import open_extractor
    from inference.manifest import load_manifest
    from tasks.resources.weights import fetch_weights

    spans: list[Span] = []
    clock = WorkClock(take_span=spans.append)
    options = PlanOptions(stride_frames=stride, decoder=chosen.decode.decoder)
    with ExitStack() as opened:
        manifest = fetch_weights(load_manifest(chosen.models.manifest), chosen)
        extractor = open_extractor(choice, options, manifest, device=chosen.models.device, clock=clock)
        opened.enter_context(closing(extractor))
        decoder = opened.enter_context(_decoder(chosen))
        decoder.warm_up()
        root = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        spans.clear()  # of the first, empty clip
        began = time.perf_counter()
        with clock.measuring(Activity.READ), video.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        record, values = obtain(video.name, video, content, extractor, decoder, None)
        with clock.measuring(Activity.SAVE):
            write_features(root, record, values, FileFormat.SAFETENSORS)
        return spans, began, time.perf_counter()


def _decoder(chosen: Settings) -> DecoderPool:
    from inference.decode import DecoderPool

    return DecoderPool(
        1,
        chosen.decode.limits,
        decoder=chosen.decode.decoder,
        environ=decoder_environ(chosen.decode.decoder),
    )
