"""``tamis judge``: judge files on this machine, without broker, ledger or tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from inference.errors import BadVideo, Transient
from tasks.cli.run.summary import UNTRAINED
from tasks.cli.terminal.data_table import DataTable, print_line
from tasks.cli.terminal.switches import SwitchedCommand, switched_on
from tasks.cli.terminal.usage import OneLine, clear_errors, open_console, open_progress_console, settings
from tasks.resources.judge import open_judge
from tasks.telemetry.event_text import cell

if TYPE_CHECKING:
    from inference.judge import Judge
    from inference.types import Verdict

UNREADABLE = "unreadable_file"


@dataclass(frozen=True, slots=True)
class JudgedFile:
    """A file of the command line, with its verdict or the reason why it has none."""

    path: str
    verdict: Verdict | None = None
    code: str = ""
    message: str = ""


@click.command(cls=SwitchedCommand)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object per file, one per line.")
@clear_errors
def judge(files: tuple[str, ...], is_json: bool, **switches: bool) -> None:
    """Judge video files on this machine and print their verdicts.

    Needs no broker and no table. Manifest, device and decoder are those of the settings: TAMIS_MANIFEST, TAMIS_DEVICE,
    TAMIS_DECODER. Crops are judged and not kept. Exit status: 0, or 1 when a file could not be judged.
    """
    if find_spec("torch") is None:
        raise OneLine("the models need PyTorch, which is not installed: pip install 'tamis[gpu]'")
    enabled, messages = switched_on(switches), open_progress_console()
    with messages.status("loading the models"):
        opened = open_judge(settings(), warms_up=False)
    with opened:
        judged = judge_files(files, enabled, opened, settings().decode.processes)
        done = _print_lines(judged) if is_json else _print_table(judged, open_console(), messages)
    if any(one.verdict is not None and one.verdict.is_untrained for one in done):
        print_line(messages, UNTRAINED, style="yellow")
    if any(one.verdict is None for one in done):
        raise SystemExit(1)


def judge_files(files: Iterable[str], enabled: frozenset[str], judge: Judge, at_once: int) -> Iterator[JudgedFile]:
    """Judge up to ``at_once`` files at the same time; yield them in the order of ``files``."""
    with ThreadPoolExecutor(at_once) as threads:
        yield from threads.map(lambda path: _judge_file(path, enabled, judge), files)


def _judge_file(path: str, enabled: frozenset[str], judge: Judge) -> JudgedFile:
    try:
        verdict = judge.judge(path, enabled)
    except (BadVideo, Transient) as error:
        return JudgedFile(path, code=error.code, message=str(error))
    except OSError as error:
        return JudgedFile(path, code=UNREADABLE, message=error.strerror or str(error))
    if verdict.crop is not None:
        verdict.crop.close()
    return JudgedFile(path, verdict)


def _print_lines(judged: Iterable[JudgedFile]) -> Sequence[JudgedFile]:
    done = []
    for one in judged:
        click.echo(json.dumps(_as_json(one), ensure_ascii=False))
        done.append(one)
    return done


def _as_json(one: JudgedFile) -> dict[str, Any]:
    from inference.verdict import video_facts

    if one.verdict is None:
        return {"file": one.path, "error": {"code": one.code, "message": one.message}}
    return {
        "file": one.path,
        "info": one.verdict.info,
        "video": video_facts(one.verdict.video),
        "decision": one.verdict.decision,
        "untrained": one.verdict.is_untrained,
        "decoded_fraction": one.verdict.decoded_fraction,
        "models": one.verdict.models,
        "stages": {stage: round(milliseconds, 1) for stage, milliseconds in one.verdict.milliseconds.items()},
    }


def _print_table(judged: Iterable[JudgedFile], console: Console, messages: Console) -> Sequence[JudgedFile]:
    with messages.status("judging"):
        done = list(judged)
    verdicts = [(one.path, one.verdict.info) for one in done if one.verdict is not None]
    keys = list(dict.fromkeys(key for _, info in verdicts for key in info if is_shown(info[key])))
    table = DataTable("file", *(key.removesuffix("_filter").replace("_", " ") for key in keys))
    for path, info in verdicts:
        table.add(path, *(scored_cell(key, info) for key in keys))
    if verdicts:
        table.print(console)
    for one in done:
        if one.verdict is None:
            print_line(messages, f"{one.path}: {one.code}: {one.message}", style="red")
    return done


def is_shown(entry: object) -> bool:
    """Check that an entry of ``info`` has a column: verdicts, and the lasting regions."""
    return isinstance(entry, Mapping) and bool({"label", "0", "regions"} & entry.keys())


def scored_cell(key: str, info: Mapping[str, Any]) -> str:
    """Return a cell: ``normal 0.88``, ``normal 9/10`` of ten windows, or the labels of the lasting regions."""
    entry = info.get(key)
    if isinstance(entry, Mapping) and "regions" in entry:
        return ", ".join(dict.fromkeys(region["label"] for region in entry["regions"])) or "none"
    text = cell(key, info)
    prob = entry.get("prob") if isinstance(entry, Mapping) else None  # null where signals could not be measured
    return text if prob is None else f"{text} {prob:.2f}"
