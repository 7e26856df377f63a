"""Features of a folder of videos, from files to files, against the older extractor; and a second run over that folder.

Both have two cores, the same seeded encoder and the same clips. The second run finds every feature there.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import transformers.models.vjepa2.modeling_vjepa2  # noqa: F401 - by the process that rounds are forks of

from bench.clips import FPS, joined
from bench.comparison import Case, Comparison, Work
from bench.summary import Measured, figures
from inference.decode import DecoderPool
from inference.decode.frames.sampling import sliding
from inference.features.extract import Extractor
from inference.features.families import EncoderChoice
from inference.features.open import open_extractor
from inference.features.options import PlanOptions
from inference.manifest import load_manifest
from storage.features.files import FileFormat, feature_path, is_complete, read_features, write_features
from tasks.features import obtain

THREADS = 2  # of torch, and decoder processes
VIDEOS_AT_ONCE = 4
LENGTHS, SHORT_LENGTHS = (4, 5, 6, 7, 8, 9), (2,)  # seconds of the videos
WIDTH, HEIGHT = 854, 480
STRIDE = 8


def _paths(is_short: bool) -> list[Path]:
    return [joined(WIDTH, HEIGHT, seconds) for seconds in (SHORT_LENGTHS if is_short else LENGTHS)]


def _count(is_short: bool) -> float:
    return float(sum(len(_clips(path)) for path in _paths(is_short)))


def _clips(path: Path) -> list[Any]:
    seconds = int(path.stem.rpartition("-")[2].removesuffix("s"))
    return sliding(seconds * FPS, 16, STRIDE, 1)


def _opened() -> Extractor:
    options = PlanOptions(stride_frames=STRIDE)
    return open_extractor(
        EncoderChoice(model_type="manifest"), options, load_manifest("tiny"), device="cpu", threads=THREADS
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _original(is_short: bool) -> Iterator[Work]:
    from bench.original import extractor as old

    manifest = load_manifest("tiny")
    with closing(_opened()) as ours, tempfile.TemporaryDirectory() as folder:
        plan = ours.plan
        encoder = old.build_encoder(next(iter(manifest.spec.backbones.values())), plan)
        paths = _paths(is_short)
        old.extract(paths[0], _clips(paths[0])[:1], encoder, plan)  # the first call costs more

        def work() -> Callable[[], Any]:
            for path in paths:
                np.save(Path(folder) / f"{path.name}.npy", old.extract(path, _clips(path), encoder, plan))
            return lambda: {path.name: np.load(Path(folder) / f"{path.name}.npy").tolist() for path in paths}

        yield work


@contextmanager
def _tamis(is_short: bool, *, is_second: bool = False) -> Iterator[Work]:
    paths = _paths(is_short)
    with ExitStack() as opened:
        extractor = opened.enter_context(closing(_opened()))
        decoder = opened.enter_context(DecoderPool(THREADS))
        decoder.warm_up()
        root = Path(opened.enter_context(tempfile.TemporaryDirectory()))

        def finish(path: Path) -> None:
            content, target = _digest(path), feature_path(root, path.name, FileFormat.SAFETENSORS)
            if not is_complete(target, extractor.plan.digest, extractor.digest, content):
                record, values = obtain(path.name, path, content, extractor, decoder, None)
                write_features(root, record, values, FileFormat.SAFETENSORS)

        def work() -> Callable[[], Any]:
            with ThreadPoolExecutor(VIDEOS_AT_ONCE) as threads:
                list(threads.map(finish, paths))
            return lambda: {path.name: _values(root, path) for path in paths}

        if is_second:
            work()
        else:
            finish(paths[0])  # the first video costs more
            shutil.rmtree(root)
            root.mkdir()
        yield work


def _values(root: Path, path: Path) -> list[list[float]]:
    _, values = read_features(feature_path(root, path.name, FileFormat.SAFETENSORS))
    found: list[list[float]] = values.tolist()
    return found


def _second(is_short: bool) -> Any:
    return _tamis(is_short, is_second=True)


def _inputs(is_short: bool) -> None:
    _paths(is_short)


def _closing(measured: Mapping[str, Sequence[Measured]]) -> str:
    found = {one.variant: one for one in figures(measured["features"], 1.0)}
    ours, second = found["tamis"], found["tamis_second_run"]
    return (
        f"bench features: cpu_ratio={ours.cpu_ratio.median:.2f} wall_ratio={ours.wall_ratio.median:.2f} "
        f"second_run_ratio={second.wall_ratio.median:.0f} equal=yes"
    )


_FEATURES = Comparison(
    name="features",
    unit="clips",
    count=_count,
    variants={"original": _original, "tamis": _tamis, "tamis_second_run": _second},
    tolerance=0.03,  # decord and PyAV scale with other rounding: 0.007 was found, of features up to 2.9
    inputs=_inputs,
)
CASE = Case("features", (_FEATURES,), short=(_FEATURES,), closing=_closing)
