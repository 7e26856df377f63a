"""The model card of a trained head: what it was trained on, how well it does, and at which thresholds."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inference.train.calibration import ReliabilityBin
from inference.train.data import LabelledClips
from inference.train.fit import FitOptions, FittedHead
from inference.train.linear import GridPoint
from inference.train.manifest_entry import TrainedOn
from inference.train.split import PARTS
from inference.train.thresholds import LossThreshold, Unreachable

ISSUES_SHOWN = 20
FEW = 10  # sources of the part test, below which resampling them says little


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfrozen:
    """The training of a backbone's last blocks."""

    blocks: int
    curve: tuple[float, ...]  # loss on the part ``select`` before it, and after each epoch

    def __str__(self) -> str:
        best = min(range(len(self.curve)), key=lambda epoch: self.curve[epoch])
        text = f"the last {self.blocks} blocks: loss on clips apart {self.curve[0]:.4f} before, {self.curve[best]:.4f}"
        return f"{text} after epoch {best}" if best else f"{text} at best: no epoch was better, they are as they were"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The data and the encoder that a head was trained on."""

    name: str
    data: str
    trained_on: TrainedOn
    head_digest: str = ""
    failed: tuple[str, ...] = ()  # videos without features
    unlabelled: tuple[str, ...] = ()
    unfrozen: Unfrozen | None = None


def card_values(clips: LabelledClips, fitted: FittedHead, options: FitOptions, origin: Provenance) -> dict[str, Any]:
    """Return the card as JSON values."""
    found = fitted.assessment
    return {
        "name": origin.name,
        "data": {
            "from": origin.data,
            "clips": len(clips),
            "sources": clips.sources_by_class(),
            "labels": {name: int((clips.labels == place).sum()) for place, name in enumerate(clips.classes)},
            "good": sorted(clips.classes[place] for place in clips.good),
            "without_features": list(origin.failed),
            "without_label": len(origin.unlabelled),
        },
        "split": {
            part: {"clips": len(rows), "sources": len(set(clips.sources[rows]))}
            for part, rows in ((name, fitted.split.rows(name)) for name in PARTS)
        },
        "encoder": {
            "model_type": origin.trained_on.model_type,
            "model_digest": origin.trained_on.model_digest,
            "clips": origin.trained_on.plan.sampling,
            "plan": json.loads(origin.trained_on.plan.to_json()),
            "plan_digest": origin.trained_on.plan.digest,
        },
        "unfrozen": asdict(origin.unfrozen) | {"text": str(origin.unfrozen)} if origin.unfrozen else None,
        "head_digest": origin.head_digest,
        "seed": options.seed,
        "head": fitted.head.fields(),
        "chosen_head": asdict(fitted.chosen),
        "grid": [asdict(point) for point in fitted.grid],
        "temperature": found.calibration.temperature,
        "figures": {
            part: {name: asdict(one) for name, one in figures.items()} for part, figures in found.figures.items()
        },
        "thresholds": [_threshold(one) for one in found.thresholds],
        "chosen": _threshold(found.threshold),
        "chosen_on_test": {"good_lost": found.test_loss, "bad_caught": found.test_caught},
        "label_issues": [asdict(issue) for issue in found.issues],
    }


def card_text(values: Mapping[str, Any]) -> str:
    """Return the card as Markdown, from :func:`card_values`."""
    data, figures, encoder = values["data"], values["figures"]["test"], values["encoder"]
    article = "An attentive" if values["head"]["kind"] == "attentive" else "A linear"
    kind = f"{article} head over {encoder['model_type']} ({encoder['model_digest'][:12]})"
    lines = [
        f"# {values['name']}",
        "",
        f"{kind}, for {_frames(encoder['plan']['preprocessing'])} {encoder['clips']}.",
        *(["", f"Trained too: {values['unfrozen']['text']}."] if values["unfrozen"] else []),
        "",
        "## Data",
        "",
        f"{data['clips']} clips of {data['from']}.",
        "",
        "| label | clips | sources | |",
        "|---|---|---|---|",
        *(
            f"| {name} | {count} | {data['sources'][name]} | {'kept' if name in data['good'] else 'dropped'} |"
            for name, count in data["labels"].items()
        ),
        "",
        f"{len(data['without_features'])} videos had no features, {data['without_label']} no label. Split by source:",
        ", ".join(f"{part} {one['clips']} clips of {one['sources']} sources" for part, one in values["split"].items())
        + ".",
        "",
        "## On sources that the training never saw",
        "",
        "| figure | value | 90 % interval, sources resampled |",
        "|---|---|---|",
        *(f"| {name} | {one['value']:.3f} | {one['low']:.3f}–{one['high']:.3f} |" for name, one in figures.items()),
        "",
        *_doubts(values["split"]["test"]["sources"]),
        "![Reliability](reliability.svg) ![Loss of the grid](grid.svg)",
        "",
        "## Thresholds",
        "",
        *([f"No threshold: {values['chosen']['reason']}.", ""] if "reason" in values["chosen"] else []),
        "| good clips lost at most | `max` | bound at 95 % confidence | bad clips caught |",
        "|---|---|---|---|",
        *(_threshold_line(one) for one in values["thresholds"]),
        "",
        *_issue_lines(values["label_issues"]),
    ]
    return "\n".join(lines) + "\n"


def card_json(values: Mapping[str, Any]) -> str:
    """Return the card as JSON text."""
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """Return an SVG: the share of clips to drop by the score that the head gave them."""
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color="#bbbbbb")
    axes.plot([one.mean_score for one in bins], [one.share for one in bins], "o-", color="#4477aa")
    axes.set(xlabel="score", ylabel="share of clips to drop", xlim=(0, 1), ylim=(0, 1))
    return _svg(figure)


def grid_chart(grid: Sequence[GridPoint]) -> str:
    """Return an SVG: the loss of each head of the grid, on the clips that it was fitted on and on others.

    Of heads that are trained by epochs it shows the loss on the others after each epoch.
    """
    figure, axes = _figure()
    if any(one.curve for one in grid):
        for one in grid:
            label = f"lr {one.learning_rate:g}, wd {one.weight_decay:g}"
            axes.plot(range(1, len(one.curve) + 1), one.curve, label=label)
        axes.set(xlabel="epoch", ylabel="cross-entropy, clips apart")
        axes.legend(fontsize="x-small")
        return _svg(figure)
    decays = [one.weight_decay for one in grid]
    axes.plot(decays, [one.fit_loss for one in grid], "o-", color="#bbbbbb", label="fitted on")
    axes.plot(decays, [one.select_loss for one in grid], "o-", color="#4477aa", label="apart")
    axes.set(xscale="log", xlabel="weight decay", ylabel="cross-entropy")
    axes.legend()
    return _svg(figure)


def summary_line(values: Mapping[str, Any]) -> str:
    """Return the last line of a training: ``train: auroc=… ece=… …``."""
    figures, data = values["figures"]["test"], values["data"]
    shown = " ".join(f"{name}={figures[name]['value']:.3f}" for name in ("auroc", "ece", "accuracy"))
    return f"train: {shown} clips={data['clips']} test_sources={values['split']['test']['sources']}"


def _doubts(sources: int) -> list[str]:
    return (
        [f"Of {sources} sources only: the intervals are too narrow. Label more sources.", ""] if sources < FEW else []
    )


def _frames(clip: Mapping[str, Any]) -> str:
    return f"{clip['num_frames']} frames of {clip['picture']['width']} x {clip['picture']['height']} pixels"


def _threshold(one: LossThreshold | Unreachable) -> dict[str, Any]:
    return asdict(one) | ({"reason": str(one)} if isinstance(one, Unreachable) else {})


def _threshold_line(one: Mapping[str, Any]) -> str:
    if "reason" in one:
        return f"| {one['max_loss']:.1%} | – | needs {one['needed']} good clips of separate sources | – |"
    return f"| {one['max_loss']:.1%} | {one['max']:.6g} | {one['bound']:.2%} | {one['caught']:.1%} |"


def _issue_lines(issues: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = Counter(f"{one['label']}, rather {one['likely']}" for one in issues)
    listed = "; ".join(f"{text}: {count}" for text, count in counts.most_common())
    head = ["## Labels to look at", "", f"{len(issues)} clips{f' ({listed})' if issues else ''}.", ""]
    return head + [
        f"- {one['clip']}: {one['label']}, rather {one['likely']} (its label has {one['probability']:.3f})"
        for one in issues[:ISSUES_SHOWN]
    ]


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4, 3), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
