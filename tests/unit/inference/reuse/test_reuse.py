"""A second judgement of the same bytes, from what is remembered: what it decodes, and that it says the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.decode import DecodeLimits, DecoderPool
from inference.judge import Judge
from inference.manifest import load_manifest, parse_manifest
from inference.models.build import open_models
from inference.models.lending import Pool
from inference.reuse.needs import Need, PieceKind
from inference.reuse.pieces import Piece
from inference.types import Verdict
from tests.branded import StandInDetector
from tests.media import real_clip, write_clip
from tests.small_manifest import SMALL
from tests.unit.inference.signals.synthetic import COUNT, moving

MIXED = (
    SMALL
    + """
[heads.turn]
backbone = "base"
labels = ["turned_video", "normal_video"]
weights = "seed:3"
[heads.look]
backbone = "base"
kind = "attentive"
depth = 2
num_attention_heads = 2
labels = ["low_quality_video", "normal_video"]
weights = "seed:4"
[[filters]]
name = "turn"
switch = "turn_enable"
head = "turn"
outputs = [
  { key = "seg_turn_filter", scope = "windows", window_seconds = 2.0 },
  { key = "inverse_seg_turn_filter", scope = "windows", window_seconds = 2.0, is_reversed = true },
]
[[filters]]
name = "look"
switch = "look_enable"
head = "look"
outputs = [{ key = "look_filter", scope = "whole" }]
[[filters]]
name = "static"
switch = "static_enable"
signal = { name = "camera_speed" }
outputs = [
  { key = "static_filter", scope = "whole" },
  { key = "seg_static_filter", scope = "windows", window_seconds = 2.0 },
]
[detector]
kind = "signal"
size = 320
max_frames = 4
[thresholds.vfx_filter]
max = 0.5
[thresholds.seg_static_filter]
max = 0.5
"""
)
ALL_KINDS = sorted([*[PieceKind.VECTORS] * 4, PieceKind.BOXES, *[PieceKind.SIGNALS] * 2, PieceKind.FACTS])


class KeptInMind:
    """A memory that forgets nothing."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, Need], Piece] = {}
        self.seconds: list[float] = []

    def get(self, content_sha256: str, need: Need) -> Piece | None:
        return self.pieces.get((content_sha256, need))

    def put(self, content_sha256: str, need: Need, piece: Piece, seconds: float) -> None:
        self.pieces[content_sha256, need] = piece
        self.seconds.append(seconds)

    @property
    def kinds(self) -> list[PieceKind]:
        return sorted(need.kind for _, need in self.pieces)


class CountingDecoder:
    """The real decoder; it counts the videos that it decodes and crops."""

    def __init__(self, pool: DecoderPool) -> None:
        self.pool = pool
        self.videos = 0

    @property
    def identity(self) -> str:
        return self.pool.identity

    def decode(self, path, plan):
        self.videos += 1
        return self.pool.decode(path, plan)

    def crop(self, path, plan, crop):
        self.videos += 1
        return self.pool.crop(path, plan, crop)


class Opened:
    """Opens judges of manifests' texts over one pool of decoders, and closes them."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.stack, self.directory = stack, directory
        self.pool = stack.enter_context(closing(DecoderPool(1)))
        self.known: dict[str, Judge] = {}

    def __call__(self, text: str = MIXED, memory: KeptInMind | None = None) -> Judge:
        if text not in self.known:
            built_in = text in {"tiny", "starter"}
            manifest = load_manifest(text) if built_in else parse_manifest(text, directory=self.directory, source="m")
            models = self.stack.enter_context(closing(open_models(manifest, device="cpu", threads=2)))
            self.known[text] = Judge(manifest, self.pool, models)
        return replace(self.known[text], decoder=CountingDecoder(self.pool), memory=memory)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with ExitStack() as stack:
        yield Opened(stack, tmp_path_factory.mktemp("reuse"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = moving(3)
    return write_clip(tmp_path_factory.mktemp("clips") / "pan.mp4", COUNT, paint=lambda number: frames[number])


@pytest.fixture(scope="module")
def judged_once(opened: Opened, clip: Path) -> tuple[KeptInMind, Verdict]:
    """The memory of one judgement of the clip with the mixed manifest, and its verdict."""
    kept = KeptInMind()
    return kept, opened(memory=kept).judge(clip)


@pytest.fixture
def memory(judged_once: tuple[KeptInMind, Verdict]) -> KeptInMind:
    """A copy of that memory."""
    copied = KeptInMind()
    copied.pieces, copied.seconds = dict(judged_once[0].pieces), judged_once[0].seconds
    return copied


def said(verdict: Verdict) -> tuple[object, ...]:
    """Return what a result says of its video, apart from times."""
    probe = verdict.video and replace(verdict.video, packets=None)
    return verdict.info, verdict.decision, verdict.models, verdict.is_untrained, verdict.decoded_fraction, probe


@pytest.mark.parametrize("text", [MIXED, "tiny", "starter"], ids=["every kind of filter", "tiny", "starter"])
def test_the_second_judgement_decodes_nothing_and_says_the_same_as_the_first_and_as_one_without_memory(
    text, opened, tmp_path
):
    kept, clip = KeptInMind(), real_clip("b.mp4")
    shutil.copy(clip, tmp_path / "copy.mp4")
    fresh, first, second = opened(text), opened(text, kept), opened(text, kept)
    expected = said(fresh.judge(clip))
    assert said(first.judge(clip)) == expected
    recalled = second.judge(tmp_path / "copy.mp4")  # the content counts, not the name
    assert said(recalled) == expected
    assert (first.decoder.videos, second.decoder.videos) == (1, 0)
    assert recalled.milliseconds.keys() == {"recall", "score"}


def test_the_facts_carry_the_seconds_of_the_whole_judgement(memory):
    assert memory.kinds == ALL_KINDS
    assert [seconds > 0 for seconds in memory.seconds] == [False] * (len(memory.seconds) - 1) + [True]


@pytest.mark.parametrize("place", range(len(ALL_KINDS)))
def test_one_missing_piece_makes_a_video_decode_and_is_then_remembered(place, memory, judged_once, opened, clip):
    before = dict(memory.pieces)
    del memory.pieces[list(memory.pieces)[place]]
    second = opened(memory=memory)
    assert said(second.judge(clip)) == said(judged_once[1])
    assert second.decoder.videos == 1
    assert memory.pieces.keys() == before.keys()


@pytest.mark.parametrize("kind", PieceKind)
def test_a_piece_of_another_form_is_a_missing_one(kind, memory, judged_once, opened, clip):
    key = next(key for key in memory.pieces if key[1].kind is kind)
    memory.pieces[key] = Piece(np.zeros((3, 1), dtype=np.uint8), ((0.0, 1.0),))
    second = opened(memory=memory)
    assert said(second.judge(clip)) == said(judged_once[1])
    assert second.decoder.videos == 1


MORE = """
[[filters]]
name = "more"
switch = "more_enable"
head = "turn"
outputs = [{ key = "more_filter", scope = "whole" }]
"""
APPLIED = {
    "threshold": ("[thresholds.vfx_filter]\nmax = 0.5", "[thresholds.vfx_filter]\nmax = 0.0"),
    "no threshold": ("[thresholds.vfx_filter]\nmax = 0.5\n", ""),
    "linear head": ('weights = "seed:2"', 'weights = "seed:99"'),
    "band": ('weights = "seed:3"', 'weights = "seed:3"\nunsure = [0.01, 0.99]'),
    "bound of a signal": ('{ name = "camera_speed" }', '{ name = "camera_speed", min = 0.5 }'),
    "rule for crops": ("max_frames = 4", "max_frames = 4\nis_record_only = true"),
    "filter on remembered vectors": ("[detector]", MORE + "[detector]"),
}


@pytest.mark.parametrize("change", APPLIED.values(), ids=APPLIED)
def test_what_is_only_applied_may_change_without_decoding(change, memory, opened, clip):
    text = MIXED.replace(*change)
    assert text != MIXED
    second = opened(text, memory)
    assert said(second.judge(clip)) == said(opened(text).judge(clip))
    assert second.decoder.videos == 0


MADE_OTHERWISE = {
    "backbone": ('weights = "seed:1"', 'weights = "seed:98"'),
    "dtype": ('weights = "seed:1"', 'weights = "seed:1"\ndtype = "bfloat16"'),
    "preprocessing": ("mean = [0.5, 0.5, 0.5]", "mean = [0.4, 0.5, 0.5]"),
    "attentive head": ('weights = "seed:4"', 'weights = "seed:97"'),
    "attention heads of one": ("num_attention_heads = 2\nlabels", "num_attention_heads = 4\nlabels"),
    "windows of a head": (
        'key = "seg_turn_filter", scope = "windows", window_seconds = 2.0',
        'key = "seg_turn_filter", scope = "windows", window_seconds = 3.0',
    ),
    "windows of signals": (
        'key = "seg_static_filter", scope = "windows", window_seconds = 2.0',
        'key = "seg_static_filter", scope = "windows", window_seconds = 3.0',
    ),
    "frames of the detector": ("max_frames = 4", "max_frames = 5"),
}


@pytest.mark.parametrize("change", MADE_OTHERWISE.values(), ids=MADE_OTHERWISE)
def test_what_makes_a_piece_otherwise_decodes(change, memory, opened, clip):
    text = MIXED.replace(*change)
    assert text != MIXED
    second = opened(text, memory)
    second.judge(clip)
    assert second.decoder.videos == 1


def test_other_bytes_decode(memory, opened, tmp_path):
    second = opened(memory=memory)
    second.judge(write_clip(tmp_path / "other.mp4", 50))
    assert second.decoder.videos == 1


def test_fewer_switches_decode_nothing(memory, opened, clip):
    second = opened(memory=memory)
    second.judge(clip, ["vfx_enable", "static_enable"])
    assert second.decoder.videos == 0


def test_limits_that_would_refuse_the_video_are_asked_anew(memory, opened, clip):
    with DecoderPool(1, DecodeLimits(max_seconds=3500.0)) as pool:
        decoder = CountingDecoder(pool)
        replace(opened(memory=memory), decoder=decoder).judge(clip)
    assert decoder.videos == 1


def test_of_a_damaged_video_nothing_is_remembered(opened, tmp_path):
    content = bytearray(real_clip("b.mp4").read_bytes())
    start = content.index(b"mdat") + len(content) // 2
    content[start : start + 3000] = bytes(3000)
    (tmp_path / "damaged.mp4").write_bytes(content)
    kept = KeptInMind()
    verdict = opened(memory=kept).judge(tmp_path / "damaged.mp4")
    assert verdict.decoded_fraction < 1
    assert not kept.pieces


CROPPING = """
name = "region-only"
[detector]
labels = ["logo"]
weights = "seed:1"
size = 320
interval_seconds = 0.5
max_frames = 8
"""


def test_a_crop_is_encoded_each_time_also_where_only_the_rule_changed(opened):
    kept, clip = KeptInMind(), real_clip("b.mp4")
    judge = opened(CROPPING, kept)
    boxes = Pool({"abnormal_region": [StandInDetector([(380, 10, 460, 50)])]})
    trained = replace(judge, models=replace(judge.models, detectors=boxes, untrained=frozenset()))
    recording = replace(judge, models=replace(trained.models, untrained=frozenset({"abnormal_region"})))
    for _ in range(2):
        with closing(trained.judge(clip).crop) as crop:
            assert crop.num_frames
    assert (judge.decoder.videos, len(kept.pieces)) == (4, 0)  # two passes each
    assert recording.judge(clip).crop is None
    assert recording.judge(clip).milliseconds.keys() == {"recall", "score"}
    with closing(trained.judge(clip).crop) as crop:
        assert crop.num_frames
    assert judge.decoder.videos == 4 + 1 + 2
