"""A hostile video ends its decoder process at most: the worker and other videos go on."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from inference.decode import DecodeLimits, DecoderPool
from inference.errors import BadVideo, Transient, VideoFault
from inference.types import ClipRequest, DecodePlan, PictureSpec, Scope
from tests import decoders
from tests.children import wait_until
from tests.media import numbers_on, write_clip

SMALL = PictureSpec(48, 64)
PLAN = DecodePlan((ClipRequest(Scope.WHOLE, SMALL, 8),))
HOSTILE = "tests.decoders:Hostile"
EXPECTED = [0, 4, 8, 12, 16, 20, 24, 29]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("media") / "video.mp4", 30)


@pytest.fixture
def hostile(tmp_path):
    def write(order):
        path = tmp_path / f"{order.decode()[:4]}.mp4"
        path.write_bytes(order)
        return path

    return write


def numbers(decoded):
    return numbers_on(decoded.pictures[SMALL].frames[decoded.clips[0].indices])


def fault_of(pool, path, **options):
    with pytest.raises(BadVideo) as caught:
        pool.decode(path, PLAN, **options)
    return caught.value


def is_running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (decoders.CRASH, ["SIGSEGV", "about to crash"]),
        (decoders.BUG, ["exit status 1", "a bug in the adapter"]),
        (decoders.EXIT, ["exit status 7"]),
    ],
)
def test_a_video_that_kills_its_decoder_twice_is_recorded_with_its_last_output(video, hostile, order, words):
    with DecoderPool(1, decoder=HOSTILE) as pool:
        error = fault_of(pool, hostile(order))
        assert error.code == VideoFault.DECODE_CRASHED
        assert all(word in str(error) for word in words), str(error)
        assert numbers(pool.decode(video, PLAN)) == EXPECTED


def test_a_decoder_that_dies_once_does_not_condemn_the_video(video, tmp_path):
    path = tmp_path / "once.mp4"
    path.write_bytes(decoders.CRASH_ONCE)
    with DecoderPool(1, decoder=HOSTILE) as pool:
        assert fault_of(pool, path).code == VideoFault.NOT_A_VIDEO  # the answer of the second decoder
    assert path.with_suffix(".crashed").exists()


def test_a_video_that_hangs_is_killed_at_its_deadline_and_not_tried_again(video, hostile):
    path = hostile(decoders.HANG)
    with DecoderPool(1, decoder=HOSTILE) as pool:
        pool.warm_up()
        (first,) = pool.children()
        assert fault_of(pool, path, timeout_seconds=0.5).code == VideoFault.DECODE_TIMEOUT
        assert not is_running(first)
        assert pool.children() == ()
        assert numbers(pool.decode(video, PLAN)) == EXPECTED


def test_a_video_over_the_memory_limit_is_refused_and_its_decoder_replaced(video, hostile):
    with DecoderPool(1, decoder=HOSTILE) as pool:
        error = fault_of(pool, hostile(decoders.BOMB))
        assert error.code == VideoFault.DECODE_MEMORY
        assert pool.children() == ()
        assert numbers(pool.decode(video, PLAN)) == EXPECTED


def test_ffmpeg_itself_is_held_to_the_memory_limit(tmp_path):
    path = write_clip(tmp_path / "large.mp4", 4, paint=lambda _: np.zeros((1440, 2560, 3), np.uint8))
    limits = DecodeLimits(memory_bytes=8 << 20, max_frames_bytes=1 << 20)
    with DecoderPool(1, limits) as pool:
        assert fault_of(pool, path).code == VideoFault.DECODE_MEMORY


def test_memory_does_not_grow_with_the_number_of_wanted_frames(tmp_path):
    picture_bytes, count = 2560 * 1440 * 3 // 2, 60
    path = write_clip(tmp_path / "large.mp4", count, paint=lambda _: np.zeros((1440, 2560, 3), np.uint8))
    limits = DecodeLimits(memory_bytes=count * picture_bytes // 2, max_frames_bytes=1 << 20)
    with DecoderPool(1, limits) as pool:
        decoded = pool.decode(path, DecodePlan((ClipRequest(Scope.WHOLE, SMALL, count),)))
    assert len(decoded.pictures[SMALL].frames) == count


def test_a_hostile_video_does_not_disturb_other_videos(video, hostile):
    hostile_paths = [hostile(order) for order in (decoders.CRASH, decoders.HANG, decoders.BOMB, decoders.EXIT)]
    with DecoderPool(2, decoder=HOSTILE) as pool, ThreadPoolExecutor(8) as threads:
        deadlines = [60.0, 1.0, 60.0, 60.0]
        bad = [
            threads.submit(fault_of, pool, path, timeout_seconds=deadline)
            for path, deadline in zip(hostile_paths, deadlines, strict=True)
        ]
        good = [threads.submit(pool.decode, video, PLAN) for _ in range(12)]
        assert [numbers(future.result()) for future in good] == [EXPECTED] * 12
        assert [future.result().code for future in bad] == [
            VideoFault.DECODE_CRASHED,
            VideoFault.DECODE_TIMEOUT,
            VideoFault.DECODE_MEMORY,
            VideoFault.DECODE_CRASHED,
        ]


def test_eight_threads_share_two_decoders_and_no_resource_leaks(video):
    def descriptors():
        gc.collect()
        opened = []
        for link in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # the one that lists the folder
                opened.append(str(link.readlink()))
        return sorted(name for name in opened if "tamis" in name or "socket" in name)

    def maps():
        gc.collect()
        return Path("/proc/self/maps").read_text().count("tamis")

    before = descriptors(), maps(), len(psutil.Process().children())
    with DecoderPool(2) as pool:
        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(lambda _: pool.decode(video, PLAN), range(80)))
        assert all(numbers(decoded) == EXPECTED for decoded in results)
        assert len(pool.children()) == 2
        assert maps() == before[1] + 80, "the frames stay mapped while they are referenced"
        del results
        assert maps() == before[1]
    assert (descriptors(), maps(), len(psutil.Process().children())) == before


def test_the_frames_outlive_the_pool_and_can_be_written(video):
    with DecoderPool(1) as pool:
        decoded = pool.decode(video, PLAN)
    frames = decoded.pictures[SMALL].frames
    assert numbers(decoded) == EXPECTED
    frames[0] = 255  # torch warns about memory that cannot be written
    assert numbers_on(frames[:1]) == [4095]


def test_an_idle_decoder_that_was_killed_is_replaced(video):
    with DecoderPool(1) as pool:
        pool.warm_up()
        (first,) = pool.children()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not is_running(first))
        assert numbers(pool.decode(video, PLAN)) == EXPECTED
        assert pool.children() != (first,)


def test_a_busy_decoder_that_was_killed_causes_one_more_try(video, hostile):
    path = hostile(decoders.HANG)
    with DecoderPool(1, decoder=HOSTILE) as pool, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.decode, path, PLAN, timeout_seconds=60)
        wait_until(path.with_suffix(".hanging").exists)
        (victim,) = pool.children()
        path.write_bytes(video.read_bytes())  # the second decoder finds a good file
        os.kill(victim, signal.SIGKILL)
        assert numbers(waiting.result()) == EXPECTED


def test_the_wait_for_a_free_decoder_is_measured_separately(video, hostile):
    path = hostile(decoders.HANG)
    readings = []

    def clock():
        readings.append(7.0 if is_released else 0.0)
        return readings[-1]

    is_released = False
    with DecoderPool(1, decoder=HOSTILE, clock=clock) as pool, ThreadPoolExecutor(2) as threads:
        threads.submit(pool.decode, path, PLAN)
        wait_until(path.with_suffix(".hanging").exists)
        (busy,) = pool.children()
        second = threads.submit(pool.decode, video, PLAN)
        wait_until(lambda: len(readings) == 3)  # two for the first video, and the start of the second one's wait
        is_released = True
        path.write_bytes(video.read_bytes())
        os.kill(busy, signal.SIGKILL)
        milliseconds = second.result().milliseconds
    assert milliseconds["queue"] == 7000
    assert set(milliseconds) == {"queue", "probe", "decode"}


def test_children_start_when_needed_and_are_replaced_after_their_number_of_videos(video):
    with DecoderPool(2, videos_per_child=2) as pool:
        assert pool.children() == ()
        pool.decode(video, PLAN)
        (first,) = pool.children()
        pool.decode(video, PLAN)
        assert pool.children() == ()
        pool.decode(video, PLAN)
        assert pool.children() != (first,)
        pool.warm_up()
        assert len(pool.children()) == 2


def test_closing_ends_running_and_waiting_decodes(video, hostile):
    path = hostile(decoders.HANG)
    pool = DecoderPool(1, decoder=HOSTILE)
    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(pool.decode, path, PLAN, timeout_seconds=60) for _ in range(3)]
        wait_until(path.with_suffix(".hanging").exists)
        (child,) = pool.children()
        pool.close()
        for future in futures:
            with pytest.raises(Transient, match="closed"):
                future.result()
    assert not is_running(child)
    with pytest.raises(Transient, match="closed"):
        pool.decode(video, PLAN)
    pool.close()


def test_a_decoder_that_cannot_start_is_transient(video):
    with DecoderPool(1, decoder="tests.decoders:NeverStarts") as pool:
        with pytest.raises(Transient, match="no such library here"):
            pool.decode(video, PLAN)
        with pytest.raises(Transient, match="did not start"):
            pool.warm_up()


def test_a_pool_of_zero_decoders_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        DecoderPool(0)


PARENT = """
import sys, threading
from pathlib import Path
from inference.decode import DecoderPool
from tests.unit.inference.decode.processes.test_pool import PLAN, HOSTILE
pool = DecoderPool(2, decoder=HOSTILE)
threading.Thread(target=pool.warm_up).start()
threading.Thread(target=pool.decode, args=(Path(sys.argv[1]), PLAN), daemon=True).start()
while len(pool.children()) < 2:
    pass
print(*pool.children(), flush=True)
threading.Event().wait()
"""


def test_hanging_children_die_with_their_parent(hostile):
    path = hostile(decoders.HANG)
    root = Path(__file__).resolve().parents[5]
    command = [sys.executable, "-c", PARENT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        wait_until(path.with_suffix(".hanging").exists)
        assert len(pids) == 2
        assert all(is_running(pid) for pid in pids)
        parent.kill()
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_children_outlive_the_thread_that_first_used_them(video):
    with DecoderPool(1) as pool:
        thread = threading.Thread(target=pool.decode, args=(video, PLAN))
        thread.start()
        thread.join()
        (child,) = pool.children()
        assert numbers(pool.decode(video, PLAN)) == EXPECTED
        assert pool.children() == (child,)


def test_a_child_gets_no_environment_of_its_parent_and_a_lower_priority(video, monkeypatch):
    monkeypatch.setenv("TAMIS_SECRET", "hunter2")
    with DecoderPool(1) as pool:
        pool.decode(video, PLAN)
        (pid,) = pool.children()
        child = psutil.Process(pid)
        assert "TAMIS_SECRET" not in child.environ()
        assert child.nice() > psutil.Process().nice()
        assert child.num_threads() == 1
        assert not any("torch" in mapped.path for mapped in child.memory_maps())


def can_leave_the_network():
    """Return True if this kernel and container allow a network namespace."""
    flags = ["--net"] if os.geteuid() == 0 else ["--net", "--user"]
    return subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode == 0


def test_a_child_has_no_network_and_cannot_gain_privileges(video):
    with DecoderPool(1) as pool:
        pool.decode(video, PLAN)
        (pid,) = pool.children()
        assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
        is_elsewhere = Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        assert is_elsewhere == can_leave_the_network()


def test_the_limits_are_those_of_the_pool(video):
    limits = replace(DecodeLimits(), max_seconds=0.1)
    with DecoderPool(1, limits) as pool:
        assert pool.limits == limits
        assert fault_of(pool, video).code == VideoFault.TOO_LONG
