"""A worker's trace: spans around what judges, for as many videos as asked, and the judge as it was afterwards."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from inference.judge import open_judge
from tasks.resources import runtime
from tasks.worker.trace import begin, trace
from tests.media import real_clip


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A runtime as far as tracing reads it: warm models of the tiny manifest, and a state directory."""
    with open_judge("tiny", device="cpu", decoder_processes=1) as judge:
        yield SimpleNamespace(judge=judge, settings=SimpleNamespace(node=SimpleNamespace(state_dir=tmp_path)))


def test_a_trace_holds_the_spans_of_its_videos_and_the_judge_is_itself_again(
    worker: SimpleNamespace, tmp_path: Path
) -> None:
    plain, clip = worker.judge, real_clip("a.mp4")
    assert "tracing the next 2 videos" in begin(worker, "torch", 2)["ok"]
    traced = [worker.judge.judge(clip, ["com_enable", "abnormal_region_enable"]) for _ in range(2)]
    assert worker.judge is plain
    assert traced[0].info.keys() == plain.judge(clip, ["com_enable", "abnormal_region_enable"]).info.keys()
    (path,) = (tmp_path / "traces").glob("*_trace.json.gz")
    with gzip.open(path) as opened:
        events = json.load(opened)["traceEvents"]
    spans = Counter(event["name"] for event in events if event.get("ph") == "X")
    assert (spans["step"], spans["read"], spans["exec"]) == (2, 2, 4)  # detected and scored
    assert spans["prep"] >= 2
    assert all(not engine.model.normalise._forward_hooks for engine in plain.models.engines)


def test_a_second_trace_waits_for_the_end_of_the_first(worker: SimpleNamespace) -> None:
    assert "ok" in begin(worker, "torch", 1)
    assert "being recorded" in begin(worker, "torch", 1)["error"]
    worker.judge.judge(real_clip("a.mp4"), ["com_enable"])
    assert not hasattr(worker.judge, "is_traced")


def test_a_video_that_cannot_be_judged_counts_as_one(worker: SimpleNamespace, tmp_path: Path) -> None:
    plain = worker.judge
    begin(worker, "torch", 1)
    with pytest.raises(Exception, match=r"not_a_video|no container|cannot"):
        worker.judge.judge(tmp_path / "absent.mp4")
    assert worker.judge is plain


@pytest.mark.parametrize(
    ("kind", "videos", "said"),
    [("torch", 0, "at least 1"), ("perf", 5, "torch, nvtx, memory"), ("nvtx", 1, "needs a GPU")],
)
def test_what_cannot_be_traced_is_answered_with_the_remedy(
    kind: str, videos: int, said: str, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "opened", lambda: worker)
    assert said in trace(None, kind, videos)["error"]


def test_a_worker_without_models_says_which_one_to_choose() -> None:
    assert "GPU worker" in trace(None)["error"]
