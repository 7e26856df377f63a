"""Result rows as columns: scores, labels and details, from both layouts of windows, whatever is missing."""

from __future__ import annotations

import base64
import json
import math
from array import array
from dataclasses import replace
from typing import Any

import pytest

from tasks.gallery.columns import NO_LABEL, Columns, details, judgements, row_judgements, row_score
from tests.browser.results import result, row


def numbers(text: str, kind: str) -> list[Any]:
    found: array[Any] = array(kind)
    found.frombytes(base64.b64decode(text))
    return found.tolist()


def windows(*shares: float, key: str = "low_quality_filter") -> dict[str, Any]:
    return {str(n): {"duration": [3 * n, 3 * n + 4], key: result("low_quality_video", s)} for n, s in enumerate(shares)}


@pytest.mark.parametrize("key", ["low_quality_filter", "seg_low_quality_filter"])  # the owners' key and the older one
def test_windows_are_read_under_either_inner_key(key: str) -> None:
    found = judgements(windows(0.25, 0.75, key=key))
    assert [(one.start_seconds, one.end_seconds, one.label, one.unwanted) for one in found] == [
        (0, 4, "normal_video", 0.25),
        (3, 7, "low_quality_video", 0.75),
    ]


@pytest.mark.parametrize("entry", [None, "text", {}, {"boxes": [], "crop": None}, {"0": {"rect": [1]}}, {"result": 3}])
def test_a_value_that_no_filter_wrote_has_no_judgement(entry: Any) -> None:
    assert judgements(entry) == []


def test_a_video_of_windows_falls_where_thirty_per_cent_of_them_do() -> None:
    shares = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    score = row_score(judgements(windows(*shares)))
    assert sum(share >= score for share in shares) == 3
    assert score == pytest.approx(0.7)
    assert row_score(judgements(windows(0.4))) == pytest.approx(0.4)
    assert math.isnan(row_score([]))


def test_of_several_labels_everything_that_is_not_normal_is_unwanted() -> None:
    probabilities = {"left": 0.2, "right": 0.3, "normal_video": 0.5}
    (found,) = judgements({"result": probabilities, "label": "normal_video", "prob": 0.5})
    assert found.unwanted == pytest.approx(0.5)
    (unnamed,) = judgements({"result": {"static": 0.8, "moving": 0.2}, "label": "static", "prob": 0.8})
    assert unnamed.unwanted == 0.8


def test_an_unsure_verdict_has_its_label_and_its_score_and_signals_are_among_the_details() -> None:
    columns, unsure = Columns(), {"result": {"static_video": 0.6, "normal_video": 0.4}, "label": "unsure", "prob": 0.6}
    found = replace(row(0), info={"static_filter": unsure, "signals": {"whole": {"luma": 0.123456, "flicker": None}}})
    columns.add(found, row_judgements(found), has_strip=False)
    (output,) = columns.to_json()["outputs"]
    assert output["labels"] == ["static_video", "normal_video", "unsure"]
    assert numbers(output["label"], "B") == [2]
    assert numbers(output["score"], "f") == pytest.approx([0.6])
    assert details(found, row_judgements(found), None)["signals"] == {"luma": 0.123}


def test_columns_of_failed_rows_have_no_score_and_those_of_judged_rows_have() -> None:
    columns = Columns()
    for ordinal in (9, 0, 1, 19):  # the first row already lacks every output
        columns.add(row(ordinal), row_judgements(row(ordinal)), has_strip=ordinal == 1)
    table = columns.to_json()
    vfx = next(output for output in table["outputs"] if output["key"] == "vfx_filter")
    scores = numbers(vfx["score"], "f")
    assert [math.isnan(score) for score in scores] == [True, False, False, True]
    assert scores[2] == pytest.approx(0.37)
    labels = numbers(vfx["label"], "B")
    assert [vfx["labels"][label] if label != NO_LABEL else None for label in labels] == [
        None,
        "normal_video",
        "normal_video",
        None,
    ]
    assert numbers(table["strips"], "B") == [0, 0, 1, 0]
    outcomes = [table["failures"]["names"][code] for code in numbers(table["failures"]["codes"], "I")]
    assert outcomes == ["corrupt_video", "ok", "ok", "corrupt_video"]
    assert table["sources"][1] == "clips/a.mp4"
    json.dumps({key: value for key, value in table.items() if key != "outputs"}, allow_nan=False)


def test_the_details_of_a_failed_row_name_the_error_and_those_of_a_judged_one_its_windows_and_regions() -> None:
    failed = details(row(9), row_judgements(row(9)), None)
    assert failed["error"] == {"code": "corrupt_video", "stage": "infer", "message": "<b>no frames</b>"}
    assert failed["judged"] == {}
    judged = details(row(0), row_judgements(row(0)), {"file": "strips/a.jpg"})
    assert len(judged["judged"]["seg_low_quality_filter"]) == 5
    assert judged["region"]["crop"]["rect"] == [0, 70, 200, 100]
