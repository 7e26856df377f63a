"""Judging from the cache on a real server: what a dying, wrong or absent one changes, and what a result says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from inference.judge import Judge, open_judge
from inference.reuse.needs import Need, PieceKind
from inference.reuse.pieces import Piece
from storage.features.cache import HEADER, open_cache
from tasks.resources.memory import CachedPieces
from tests.media import write_clip
from tests.small_manifest import SMALL
from tests.valkey import ValkeyServer, valkey_server

NEED = Need(PieceKind.SIGNALS, "plan", "model")
PIECE = Piece(np.array([[0.1, np.nan], [1e-300, -0.0]]), ((0.0, 0.1 + 0.2), (3.0, 7.0)))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    path = tmp_path_factory.mktemp("judge") / "small.toml"
    path.write_text(SMALL)
    with open_judge(path, device="cpu", decoder_processes=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_clip(folder / f"{count}.mp4", count) for count in (8, 9, 10)]


def test_a_piece_comes_back_bit_by_bit(server: ValkeyServer, client: redis.Redis) -> None:
    with closing(open_cache(server.url)) as cache:
        memory = CachedPieces(cache)
        memory.put("content", NEED, PIECE, 1.5)
        found = memory.get("content", NEED)
        assert found is not None
        assert found.values.tobytes() == PIECE.values.tobytes()
        assert (found.values.dtype, found.spans) == (PIECE.values.dtype, PIECE.spans)
        assert cache.counters.saved_seconds == 1.5
        assert memory.get("other", NEED) is None


def test_every_damage_to_a_value_makes_the_video_decode_and_say_the_same(
    judge: Judge, clips: list[Path], server: ValkeyServer, client: redis.Redis
) -> None:
    expected = judge.judge(clips[0])
    with closing(open_cache(server.url)) as cache:
        remembering = replace(judge, memory=CachedPieces(cache))
        remembering.judge(clips[0])
        (one, other) = client.keys("tamis:features:*")
        whole = client.get(one)
        assert isinstance(whole, bytes)
        flipped = bytearray(whole)
        flipped[HEADER.size + 9] ^= 1
        for damage in (b"", whole[:-1], bytes(flipped), client.get(other)):
            client.set(one, damage)
            again = remembering.judge(clips[0])
            assert again.info == expected.info
            assert "decode" in again.milliseconds
        assert "recall" in remembering.judge(clips[0]).milliseconds


def test_a_cache_that_is_killed_between_two_videos_changes_no_verdict(judge: Judge, clips: list[Path]) -> None:
    expected = [judge.judge(clip).info for clip in clips]
    with valkey_server() as dying, closing(open_cache(dying.url)) as cache:
        remembering = replace(judge, memory=CachedPieces(cache))
        assert [remembering.judge(clip).info for clip in clips] == expected
        recalled = remembering.judge(clips[0])
        dying.kill()
        after = [remembering.judge(clip) for clip in clips]
        assert [recalled.info, *(one.info for one in after[1:])] == expected
        assert "recall" in recalled.milliseconds
        assert all("decode" in one.milliseconds for one in after)
        assert cache.counters.errors > 0
