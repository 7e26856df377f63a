"""Reading of verdicts from ``info``: entries of this release, of earlier ones, and what is no verdict."""

from __future__ import annotations

import pytest

from storage.verdicts import Judgement, judgements

NORMAL = {"result": {"odd_video": 0.25, "normal_video": 0.75}, "label": "normal_video", "prob": 0.75}
ODD = {"result": {"odd_video": 0.5, "normal_video": 0.5}, "label": "odd_video", "prob": 0.5}


def test_an_entry_of_a_whole_video_is_one_judgement_without_times() -> None:
    assert judgements(NORMAL) == (Judgement("normal_video", 0.75, NORMAL["result"]),)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["simcam_filter", "seg_simcam_filter"], ids=["own name", "earlier release"])
def test_windows_are_read_in_order_with_their_times_under_either_key(key: str) -> None:
    entry = {"0": {"duration": [0, 4], key: NORMAL}, "1": {"duration": [3, 6.5], key: ODD}}
    found = judgements(entry)
    assert [(one.label, one.start_seconds, one.end_seconds) for one in found] == [
        ("normal_video", 0, 4),
        ("odd_video", 3, 6.5),
    ]
    assert found[1].result == {"odd_video": 0.5, "normal_video": 0.5}


@pytest.mark.parametrize(
    "entry", [None, True, "text", 3, [], {}, {"label": 7}, {"boxes": [], "regions": []}, {"0": {"duration": [0, 4]}}]
)
def test_other_values_of_info_have_no_judgement(entry: object) -> None:
    assert judgements(entry) == ()
