"""G2 and G4: a model for each of six threads, as in the original design, against one model behind the batcher."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.accelerator.clock import Deadline
from bench.accelerator.encoder import MEAN, STD, Shape, build_model
from bench.accelerator.setting import BenchSetting, FigureRow, Figures, attempt
from inference.models.batcher import Answer, Batcher, Batching
from inference.models.networks.heads import AttentiveHead, LinearHead
from inference.models.networks.transforms import gather_clip
from inference.models.networks.video_model import ClipScorer, VideoModel
from inference.models.torch_settings import KERNELS, attention_kernels
from inference.types import Frames, Indices

THREADS = 6
WINDOW_FRAMES_APART = 0.75  # as a share of a window's length: 4 s with 1 s overlap
BUCKETS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Video:
    """A decoded video in memory: its frames, one clip per window, and one clip over the whole video."""

    frames: Frames
    whole: Indices
    windows: tuple[Indices, ...]


def threads_and_batcher(setting: BenchSetting) -> Iterator[FigureRow]:
    """G2: clips per second with six clips in flight."""
    with _attention(setting):
        yield attempt(setting, "6 models in 6 threads, B=1", lambda: _clips_a_second(setting, _six_models))
        yield attempt(setting, "1 model behind the batcher", lambda: _clips_a_second(setting, _one_batcher))


def end_to_end(setting: BenchSetting) -> Iterator[FigureRow]:
    """G4: decoded videos per second, the rate that decoding has to reach."""
    video = _video(setting.shape, windows=20 if setting.has_gpu else 2)
    with _attention(setting):
        yield attempt(setting, "a backbone per filter, B=1, float upload", lambda: _per_filter(setting, video))
        yield attempt(setting, "shared backbones, batches, uint8 upload", lambda: _shared(setting, video))


@contextmanager
def _attention(setting: BenchSetting) -> Iterator[None]:
    best = setting.best_attention
    with attention_kernels(best if best in KERNELS else "auto", setting.device):
        yield


# ── G2 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

Submit = Callable[[int, Tensor], object]  # (number of the thread, clip); returns after scoring


def _clips_a_second(setting: BenchSetting, open_one: Callable[[BenchSetting, ExitStack], Submit]) -> Figures:
    clip = torch.zeros((setting.shape.frames, setting.shape.size, setting.shape.size, 3), dtype=torch.uint8)
    clip = clip.pin_memory() if setting.has_gpu else clip
    with ExitStack() as opened:
        submit = open_one(setting, opened)
        rate = _throughput(setting, lambda thread: submit(thread, clip))
    return {"clips/s": rate, "ms/clip": 1e3 / rate, **setting.rates(rate)}


def _throughput(setting: BenchSetting, run: Callable[[int], object]) -> float:
    """Calls per second of six threads, each of which calls again after every result."""
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(run, range(THREADS)))  # warm
        started, deadline = time.perf_counter(), Deadline(2 * setting.seconds)
        counts = list(threads.map(lambda thread: _repeat(run, thread, deadline), range(THREADS)))
        return sum(counts) / (time.perf_counter() - started)


def _repeat(run: Callable[[int], object], thread: int, deadline: Deadline) -> int:
    done = 0
    while not done or not deadline.has_passed:
        run(thread)
        done += 1
    return done


def _six_models(setting: BenchSetting, _opened: ExitStack) -> Submit:
    scorers = [ClipScorer(_linear(setting), setting.device) for _ in range(THREADS)]
    return lambda thread, clip: scorers[thread]([clip], [["linear"]], 1)


def _one_batcher(setting: BenchSetting, opened: ExitStack) -> Submit:
    batcher = opened.enter_context(_batcher(setting, "base", _linear(setting), (1, 2, 4, 6)))
    return lambda _thread, clip: batcher.submit(clip, ["linear"]).result()


def _linear(setting: BenchSetting) -> VideoModel:
    heads = {"linear": LinearHead(setting.shape.hidden_size, 2)}
    return build_model(setting.shape, setting.device, setting.dtype, heads=heads)


@contextmanager
def _batcher(setting: BenchSetting, name: str, model: VideoModel, buckets: tuple[int, ...]) -> Iterator[Batcher]:
    scorer = ClipScorer(model, setting.device, max_batch=buckets[-1])
    with closing(Batcher(name, scorer, Batching(buckets=buckets))) as batcher:
        yield batcher


# ── G4 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _video(shape: Shape, windows: int) -> Video:
    apart = int(shape.frames * WINDOW_FRAMES_APART)
    count = apart * (windows - 1) + shape.frames
    frames = np.random.default_rng(0).integers(0, 256, (count, shape.size, shape.size, 3), dtype=np.uint8)
    within = np.arange(shape.frames)
    whole = np.linspace(0, count - 1, shape.frames).astype(np.int64)
    return Video(frames, whole, tuple(within + apart * place for place in range(windows)))


def _per_filter(setting: BenchSetting, video: Video) -> Figures:
    """Three filters read the whole video, three its windows: a pass for each, normalised to float32 on the host."""
    models = [_linear(setting) for _ in range(THREADS)]
    clips = [video.whole] * 3 + [*video.windows] * 3

    def judge(thread: int) -> None:
        for indices in clips:
            _float_pass(setting, models[thread], video.frames[indices])

    return _videos(setting, judge, passes=len(clips))


@torch.inference_mode()
def _float_pass(setting: BenchSetting, model: VideoModel, frames: Frames) -> Tensor:
    clip = torch.from_numpy(float_clip(frames)).unsqueeze(0).to(setting.device)
    return model.probabilities("linear", model.backbone(clip.to(setting.dtype))).cpu()


def float_clip(frames: Frames) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Frames ``(T, H, W, 3)`` normalised on the host: ``(T, 3, H, W)`` float32."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return np.ascontiguousarray(((frames.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))


def _shared(setting: BenchSetting, video: Video) -> Figures:
    """Share a backbone between three filters, with a second one for the fourth; shared clips pass once."""
    width, heads = setting.shape.hidden_size, setting.shape.heads
    attentive = AttentiveHead(width, 2, depth=4, num_attention_heads=heads)
    base = {"vfx": LinearHead(width, 2), "simcam": LinearHead(width, 2), "low-quality": attentive}
    buckets = BUCKETS if setting.has_gpu else (1, 2)
    with ExitStack() as opened:
        first, second = (
            opened.enter_context(_batcher(setting, name, model, buckets))
            for name, model in (
                ("base", build_model(setting.shape, setting.device, setting.dtype, heads=dict(base))),
                ("rov", _linear(setting)),
            )
        )

        def judge(_thread: int) -> None:
            asked = [
                _submit(setting, first, video, video.whole, ["vfx", "simcam"]),
                _submit(setting, second, video, video.whole, ["linear"]),
                *(_submit(setting, first, video, window, ["simcam", "low-quality"]) for window in video.windows),
                *(_submit(setting, first, video, window[::-1], ["simcam"]) for window in video.windows),
            ]
            for future in asked:
                future.result()

        return _videos(setting, judge, passes=2 + 2 * len(video.windows))


def _submit(
    setting: BenchSetting, batcher: Batcher, video: Video, indices: Indices, heads: Sequence[str]
) -> Future[Answer]:
    return batcher.submit(gather_clip(video.frames, indices, is_pinned=setting.has_gpu), heads)


def _videos(setting: BenchSetting, judge: Callable[[int], None], *, passes: int) -> Figures:
    rate = _throughput(setting, judge)
    return {"videos/s": rate, "passes/video": passes, "clips/s": passes * rate, **setting.rates(passes * rate)}
