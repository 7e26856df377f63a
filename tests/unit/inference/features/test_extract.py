"""Features of real files: the same bytes whatever shares a batch, and close to Transformers on PyAV's frames."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import av
import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import cosine_similarity

from inference.errors import BadVideo, ManifestError
from inference.features.families import EncoderChoice
from inference.features.forward import Forward, choose_precision
from inference.features.open import open_encoder, open_extractor
from inference.features.options import PlanOptions
from inference.features.plan import Pooling
from inference.features.work_clock import WorkClock
from inference.models.checkpoint import fill_from_seed
from inference.types import Fit

OPTIONS = PlanOptions(stride_frames=2)


def features_of(paths, small, decoders, *, batch_clips=64, threads=1, options=OPTIONS, at_once=3):
    choice = EncoderChoice(model_type="manifest")
    extractor = open_extractor(
        choice, options, small, device="cpu", threads=threads, batch_clips=batch_clips, clock=WorkClock()
    )
    with closing(extractor), ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda path: extractor.extract(path, decoders), paths))
        return found, extractor.counters()


@pytest.mark.parametrize(("batch_clips", "threads", "at_once"), [(1, 1, 1), (8, 2, 3), (64, 2, 1)])
def test_features_are_the_same_bytes_for_every_batch_size_and_number_of_threads(
    batch_clips, threads, at_once, small, decoders, videos
):
    alone, _ = features_of(videos, small, decoders)
    found, _ = features_of(videos, small, decoders, batch_clips=batch_clips, threads=threads, at_once=at_once)
    assert [one.values.tobytes() for one in found] == [one.values.tobytes() for one in alone]


def test_clips_of_several_videos_share_a_batch(small, decoders, videos):
    found, counters = features_of(videos, small, decoders, at_once=3)
    clips = sum(len(one.values) for one in found)
    assert counters["clips"] == clips + 1  # and the first, empty one
    assert counters["batches"] < clips


def test_the_times_of_the_clips_are_those_of_their_frames(small, decoders, videos):
    (short, middle, _), _ = features_of(videos, small, decoders)
    assert (short.start_seconds.tolist(), short.end_seconds.tolist()) == ([0.0], [0.12])
    assert middle.start_seconds == pytest.approx([0.0, 0.08, 0.16, 0.24])
    assert middle.end_seconds == pytest.approx([0.16, 0.24, 0.32, 0.4])


def test_tokens_and_float16_change_shape_and_dtype_alone(small, decoders, videos):
    options = PlanOptions(stride_frames=2, pooling=Pooling.TOKENS, dtype="float16")
    (_, tokens, _), _ = features_of(videos, small, decoders, options=options)
    (_, means, _), _ = features_of(videos, small, decoders)
    assert tokens.values.shape == (4, 8, 48)
    assert tokens.values.dtype == np.float16
    assert tokens.values.astype(np.float32).mean(1) == pytest.approx(means.values, abs=2e-3)


def test_features_are_close_to_transformers_called_plainly_on_frames_of_pyav(small, decoders, videos, tmp_path):
    config = transformers.VideoMAEConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, num_frames=4
    )
    model = transformers.VideoMAEModel(config).eval()
    fill_from_seed(model, 3)
    model.save_pretrained(tmp_path)
    choice = EncoderChoice(model_type="videomae", checkpoint=str(tmp_path))
    options = PlanOptions(stride_frames=4, fit=Fit.SQUASH)
    with closing(open_extractor(choice, options, small, device="cpu")) as extractor:
        found = extractor.extract(videos[1], decoders)
    with av.open(str(videos[1])) as opened:
        pictures = [
            frame.reformat(32, 32, "rgb24", interpolation="BILINEAR").to_ndarray() for frame in opened.decode(video=0)
        ]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for values, first in zip(found.values, (0, 4, 6), strict=True):
        clip = (torch.from_numpy(np.stack(pictures[first : first + 4])) / 255 - mean) / std
        with torch.inference_mode():
            plain = model(clip.permute(0, 3, 1, 2)[None]).last_hidden_state.mean(1)
        assert cosine_similarity(torch.from_numpy(values)[None], plain) > 0.999


def test_a_file_that_is_no_video_is_a_bad_video(small, decoders, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    with pytest.raises(BadVideo):
        features_of([bad], small, decoders)


def test_clips_of_a_size_that_the_encoder_does_not_take_are_refused_at_the_start(small, tmp_path):
    config = transformers.VideoMAEConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, num_frames=4
    )
    transformers.VideoMAEModel(config).save_pretrained(tmp_path)
    choice = EncoderChoice(model_type="videomae", checkpoint=str(tmp_path))
    with pytest.raises(ManifestError, match="--num_frames or --size"):
        open_extractor(choice, PlanOptions(num_frames=8), small, device="cpu")


def test_a_full_memory_halves_the_forward_pass_and_later_passes_grow_back(small, caplog):
    encoder = open_encoder(EncoderChoice(model_type="manifest"), small)
    plan = PlanOptions(forward_clips=8).plan(encoder.preprocessing, precision="float32", is_gpu=False)
    forward = Forward(encoder, plan, torch.device("cpu"), WorkClock())
    sizes, whole = [], forward._network.forward

    def short_of_memory(clips):
        sizes.append(len(clips))
        if len(clips) > 4 and len(sizes) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(clips)

    forward._network.forward = short_of_memory
    clips = [torch.full((4, 32, 32, 3), n, dtype=torch.uint8) for n in range(8)]
    answers = forward(clips, [("features",)] * 8, 8)
    assert sizes == [8, 4, 4]
    assert len(answers) == 8
    assert "4 at a time" in caplog.text
    for _ in range(120):
        forward(clips[:1], [("features",)], 1)
    assert sizes[-1] == 8


def test_precision_is_float32_on_a_cpu_unless_another_is_asked_for():
    assert choose_precision("auto", torch.device("cpu")) == "float32"
    assert choose_precision("float16", torch.device("cpu")) == "float16"


def test_the_description_says_that_seeded_weights_are_untrained(small, tmp_path):
    with closing(open_extractor(EncoderChoice(model_type="manifest"), OPTIONS, small, device="cpu")) as extractor:
        assert "clips of 4 frames at 32 x 32" in extractor.description
        assert "untrained weights" in extractor.description
