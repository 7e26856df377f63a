"""``tamis estimate``: what a run over a table would take, from a sample of its videos."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from storage.records import check_input_columns
from storage.tables.protocol import InputTable
from tasks.cli.run.progress import clock
from tasks.cli.terminal.data_table import DataTable, print_line
from tasks.cli.terminal.report import json_option, print_json
from tasks.cli.terminal.switches import SwitchedCommand, switched_on
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_progress_console, settings
from tasks.estimate.cost import fit_costs
from tasks.estimate.estimate import Estimate, Fleet, Prices, Sample, estimate_run
from tasks.estimate.forecast import Bounds
from tasks.estimate.probe import ProbedVideo, judge_some, probe_videos, sample_of, sampled_records
from tasks.resources.judge import open_judge
from tasks.resources.stores import NO_TIER, open_origin
from tasks.resources.tables import open_input
from tasks.settings import Settings

PRICE = click.FloatRange(min=0)


@click.command(cls=SwitchedCommand)
@click.option("--tables", required=True, metavar="URL", help="The input table, as of `tamis sift`.")
@click.option("--sample", type=click.IntRange(min=4), default=100, show_default=True, help="Rows whose video is read.")
@click.option("--judge", "judged", type=click.IntRange(min=1), default=12, show_default=True, help="Of them, judged.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="GPU workers of the fleet.")
@click.option("--cores", type=click.IntRange(min=1), help="Decoder cores of each; default: TAMIS_DECODER_CHILDREN.")
@click.option("--price-device-hour", type=PRICE, metavar="PRICE", help="Of a worker's device, in any currency.")
@click.option("--price-core-hour", type=PRICE, metavar="PRICE", help="Of a decoder core.")
@click.option("--keep-rate", type=click.FloatRange(0, 1, min_open=True), help="Default: that of the judged videos.")
@json_option
@clear_errors
def estimate(
    *,
    tables: str,
    sample: int,
    judged: int,
    workers: int,
    cores: int | None,
    price_device_hour: float | None,
    price_core_hour: float | None,
    keep_rate: float | None,
    is_json: bool,
    **switches: bool,
) -> None:
    """Estimate a run: rows, device hours, decoder core-hours, bytes, its finish and its price, as 90 % intervals.

    Reads the headers of sampled rows' videos and judges a few of them on this machine, with the settings' manifest,
    device and decoder: run it on a machine like those of the fleet. Nothing is submitted or written.
    """
    prices = None
    if price_device_hour is not None or price_core_hour is not None:
        prices = Prices(price_device_hour or 0.0, price_core_hour or 0.0)
    enabled = switched_on(switches)
    rows, found, costs, is_shared = probe_run(lambda: open_input(tables), settings(), sample, judged, enabled)
    if keep_rate is not None:
        found = Sample(found.sizes, found.failures, keep_rate)
    fleet = Fleet(workers, cores or settings().decode.processes, is_shared)
    result = estimate_run(rows, found, fit_costs(costs), fleet, prices)
    if is_json:
        print_json({**asdict(result), "sample": {**asdict(found), "sizes": len(found.sizes)}, "fleet": asdict(fleet)})
    else:
        print_estimate(result, found, fleet, len(costs), open_console())


def probe_run(
    open_table: Callable[[], InputTable], chosen: Settings, sample: int, judged: int, switches: frozenset[str]
) -> tuple[int, Sample, list[Any], bool]:
    """Return the rows of the table, the sample, the costs of judged videos, and whether models run on the CPU."""
    messages = open_progress_console()
    store = open_origin(chosen)
    if store is None:
        raise OneLine(NO_TIER)
    with closing(open_table()) as table:
        check_input_columns(table.columns, table.url)
        rows, records = table.count_rows(), list(sampled_records(table, sample))
    with messages.status("loading the models"):
        judge = open_judge(chosen)
    with judge, messages.status("") as status:
        probed = list[ProbedVideo]()
        for video in probe_videos(records, store, judge.decoder, chosen.decode.processes, chosen.oss.buckets):
            probed.append(video)
            status.update(f"read {len(probed)} of {len(records)} videos")
        readable = [(one.uri, one.size) for one in probed if one.uri is not None and one.size is not None]
        status.update(f"judging {min(judged, len(readable))} videos")
        results = list(judge_some(readable, judged, store, judge, switches))
        is_shared = judge.models.device.type == "cpu"
    if readable and not results:
        raise OneLine("none of the chosen videos could be judged: `tamis judge` says why; or judge more (--judge)")
    return rows, sample_of(probed, [keep for _, keep in results]), [cost for cost, _ in results], is_shared


def print_estimate(result: Estimate, sample: Sample, fleet: Fleet, judged: int, console: Console) -> None:
    """Print the estimate as a table, and what the sample shows."""
    print_line(console, f"{result.rows} rows; sample: {len(sample.sizes)} videos read, {judged} of them judged")
    for code, count in sample.failures.items():
        print_line(console, f"of the sample, {count} rows end as {code}", style="yellow")
    table = DataTable("", "estimate", "from", "to")
    gigabytes, finish = result.bytes.scaled(1e-9), result.finish_seconds
    table.add("videos, GB", *_texts(gigabytes))
    table.add("CPU-hours of the models" if fleet.is_shared else "GPU-hours", *_texts(result.device_hours))
    table.add("decoder core-hours", *_texts(result.decode_core_hours))
    workers = f"{fleet.workers} worker{'s' if fleet.workers > 1 else ''} with {fleet.cores} decoder cores"
    table.add(f"finish with {workers}", *map(clock, (finish.middle, finish.low, finish.high)))
    for name, price in (
        ("price", result.price),
        ("price of 1,000 videos", result.price_per_1000),
        ("price of 1,000 kept", result.price_per_1000_kept),
    ):
        if price is not None:
            table.add(name, *_texts(price))
    table.print(console)


def _texts(bounds: Bounds) -> tuple[str, str, str]:
    return f"{bounds.middle:.3g}", f"{bounds.low:.3g}", f"{bounds.high:.3g}"
