"""A run as one HTML page that needs no network: verdict, tables, charts, comparison, machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from inference.profiling.figures.first_calls import SlowFirstCall
from inference.profiling.report.advice import Tried
from inference.profiling.report.charts import latency_curves, stage_shares, step_distribution
from inference.profiling.report.stored import Comparison
from inference.profiling.run import ProfileResult


def write_report(
    result: ProfileResult,
    directory: Path,
    *,
    tried: Sequence[Tried] = (),
    slow_first_calls: Sequence[SlowFirstCall] = (),
    comparison: Comparison | None = None,
) -> Path:
    """Write ``<stem>_report.html``; return its path."""
    environment = Environment(
        loader=PackageLoader("inference.profiling.report", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        result=result,
        summary=result.summary,
        options=result.options,
        configuration=asdict(result.options),
        tried=tried,
        slow_first_calls=slow_first_calls,
        comparison=comparison,
        curves_svg=Markup(latency_curves(result.steps)),  # noqa: S704  our own charts, which hold no text of the input
        shares_svg=Markup(stage_shares(result.summary)),  # noqa: S704  as above
        distribution_svg=Markup(step_distribution(result.steps)),  # noqa: S704  as above
    )
    path = directory / f"{result.stem}_report.html"
    path.write_text(page, encoding="utf-8")
    return path
