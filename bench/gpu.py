"""``python -m bench.gpu [--seconds 540] [--json PATH] [--tiny]``: measure a GPU with our encoder, in ten minutes.

Needs only PyTorch, Transformers and this repository: no table, no broker, no weights, no network. With PyAV installed
and a GPU driver that decodes video, G6 measures that too.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.accelerator.ceilings import ceilings
from bench.accelerator.clock import Deadline
from bench.accelerator.decoding import decoding
from bench.accelerator.encoder import TINY, VIT_B
from bench.accelerator.forward import forward
from bench.accelerator.numerics import numerics
from bench.accelerator.serving import end_to_end, threads_and_batcher
from bench.accelerator.setting import BenchSetting, FigureRow, Section, first_line
from bench.accelerator.upload import upload
from inference.models.device import choose_device, device_info, device_name

# letter -> title, section, largest share of the whole time
SECTIONS: Mapping[str, tuple[str, Section, float]] = {
    "G0": ("ceilings: matrix products and copies", ceilings, 0.06),
    "G5": ("numerics against float32", numerics, 0.08),
    "G1": ("one backbone's forward", forward, 0.5),
    "G2": ("six clips in flight", threads_and_batcher, 0.1),
    "G3": ("upload of a clip to the device", upload, 0.06),
    "G4": ("whole decoded videos", end_to_end, 0.2),
    "G6": ("decoding on the GPU and on the CPU", decoding, 0.12),
}
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}  # dense float16, as NVIDIA's data sheets state (SXM)
LACKS = ("failed", "not run")  # keys of a row without figures
RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run the sections within the time limit, print each at its end, store all of them."""
    chosen = _parser().parse_args(arguments)
    setting = _setting(chosen.device, chosen.seconds, is_tiny=chosen.tiny)
    print(f"{device_name(setting.device)}: {device_info(setting.device)}; {setting.shape.name}")
    whole = Deadline(chosen.seconds)
    measured: dict[str, list[FigureRow]] = {}
    for letter in chosen.only or SECTIONS:
        title, section, share = SECTIONS[letter]
        setting.deadline = Deadline(min(whole.left_seconds, share * chosen.seconds))
        measured[letter] = _run(section, setting)
        print(f"\n{letter}  {title}\n{table(measured[letter])}", flush=True)
    for note in [*setting.notes, verdict(setting, measured.get("G1", []))]:
        print(f"\n{note}")
    path = chosen.json or RESULTS / f"gpu-{datetime.now(UTC):%Y-%m-%dT%H%M%S}.json"
    _store(path, setting, measured)
    print(f"\nstored: {path}")
    return 0


def verdict(setting: BenchSetting, rows: Iterable[FigureRow]) -> str:
    """Summarise the limit, the share of it that was reached, and the best case."""
    found = [row for row in rows if "ms/clip" in row.figures]
    if not found or not setting.gemm_tflops:
        return "no verdict: neither the ceiling nor a forward was measured"
    best = min(found, key=lambda row: float(row.figures["ms/clip"]))
    limit = 1e3 * setting.shape.flop / (setting.gemm_tflops * 1e12)
    milliseconds = float(best.figures["ms/clip"])
    work = f"{setting.shape.flop / 1e12:.3g} TFLOP at the measured {setting.gemm_tflops:.3g} TFLOP/s"
    reached = f"{milliseconds:.3g} ms = {100 * limit / milliseconds:.0f} % of it, by {best.case}"
    return f"limit: {limit:.3g} ms a clip ({work}); reached: {reached}"


def table(rows: Iterable[FigureRow]) -> str:
    """Format rows under the names of all their figures; a row without figures shows its reason."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.figures if name not in LACKS))
    lines = [["", *names], *([row.case, *(_number(row.figures.get(name)) for name in names)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    reasons = ["", *(_lack(row) for row in rows)]
    return "\n".join(_line(line, widths, lack) for line, lack in zip(lines, reasons, strict=True))


def _lack(row: FigureRow) -> str:
    return ", ".join(f"{kind}: {row.figures[kind]}" for kind in LACKS if kind in row.figures)


def _line(cells: list[str], widths: list[int], lack: str) -> str:
    rest = [f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join([f"{cells[0]:<{widths[0]}}", *([lack] if lack else rest)])


def _number(figure: float | str | None) -> str:
    return f"{figure:.4g}" if isinstance(figure, float) else str(figure if figure is not None else "")


def _run(section: Section, setting: BenchSetting) -> list[FigureRow]:
    rows: list[FigureRow] = []
    try:
        rows.extend(section(setting))
    except RuntimeError as error:  # a section without memory or kernels must not end the others
        rows.append(FigureRow("the section ended early", {"failed": first_line(error)}))
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    return rows


def _setting(device: str, seconds: float, *, is_tiny: bool) -> BenchSetting:
    place = choose_device(device)
    setting = BenchSetting(
        device=place,
        shape=TINY if is_tiny else VIT_B,
        batch_sizes=(1, 2) if is_tiny else (1, 2, 4, 8, 16, 32),
        seconds=seconds / 600,
        deadline=Deadline(seconds),
    )
    known = [peak for name, peak in PEAK_TFLOPS.items() if name in device_name(place)]
    return replace(setting, peak_tflops=known[0]) if known and setting.has_gpu else setting


def _store(path: Path, setting: BenchSetting, measured: Mapping[str, list[FigureRow]]) -> None:
    content: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(setting.device),
        "device_info": device_info(setting.device),
        "python": platform.python_version(),
        "transformers": transformers.__version__,
        "model": setting.shape.name,
        "tflop_per_clip": setting.shape.flop / 1e12,
        "peak_tflops": setting.peak_tflops,
        "gemm_tflops": setting.gemm_tflops,
        "best_attention": setting.best_attention,
        "verdict": verdict(setting, measured.get("G1", [])),
        "sections": {
            letter: [{"case": row.case, **row.figures} for row in rows] for letter, rows in sorted(measured.items())
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Measure a GPU with our encoder.")
    parser.add_argument("--seconds", type=float, default=540.0, help="approximate limit of the whole time; default 540")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>; default auto")
    parser.add_argument(
        "--tiny", action="store_true", help="a small model and two batch sizes, only to check that it runs"
    )
    parser.add_argument("--only", action="append", choices=sorted(SECTIONS), help="only this section; default: all")
    parser.add_argument("--json", type=Path, help=f"file for the figures; default: a new file in {RESULTS.name}/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
