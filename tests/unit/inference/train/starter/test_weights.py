"""The committed starter weights: small, described by their card, and loaded by the manifest as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference.manifest import load_manifest
from inference.models.build import open_models
from inference.train.starter.recipe import CARD, WEIGHTS, read_upright
from inference.train.starter.sources import read_sources
from inference.train.starter.tasks import QUESTIONS

MOST_BYTES = 15_000_000


@pytest.fixture(scope="module")
def card() -> dict[str, object]:
    loaded: dict[str, object] = json.loads((WEIGHTS / CARD).read_text(encoding="utf-8"))
    return loaded


def test_the_weights_take_less_than_fifteen_megabytes() -> None:
    assert sum(path.stat().st_size for path in Path(WEIGHTS).iterdir()) < MOST_BYTES


def test_the_card_names_every_source_with_its_licence_and_has_figures_of_every_filter(card: dict) -> None:
    assert {one["name"] for one in card["sources"]} == {one.name for one in read_sources().sources}
    assert all(one["licence"] for one in [*card["sources"], card["encoder"]])
    assert set(card["held_out"]) == {one.name for one in QUESTIONS}
    assert not [
        one["name"]
        for one in card["sources"]
        if one["kind"] != "photo" and one["clips_trained"] and one["clips_held_out"]
    ]


def test_the_manifest_has_the_band_of_unsure_that_was_fitted() -> None:
    assert load_manifest("starter").spec.heads["upright"].unsure == read_upright(WEIGHTS)[1]


def test_the_manifest_opens_with_trained_weights_only() -> None:
    manifest = load_manifest("starter")
    models = open_models(manifest, device="cpu")
    models.close()
    assert not manifest.is_untrained
    assert not models.untrained
