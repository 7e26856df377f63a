"""Flower over a fleet: `tamis flower --conf=deploy/flower/flowerconfig.py`. It shows videos, runs and verdicts.

Nothing is answered without a password. It comes as ``FLOWER_BASIC_AUTH=user:password``, or from the file that
``FLOWER_BASIC_AUTH_FILE`` names; ``--basic-auth`` on a command line is seen by every user of the host. Other options on
the command line go before what stands here.
"""

from __future__ import annotations

import ast
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from flower.api import BaseApiHandler
from flower.urls import settings
from flower.views import BaseHandler
from flower.views.tasks import TASK_COLUMNS
from tornado.options import options
from tornado.web import HTTPError, StaticFileHandler

# ── who may look ─────────────────────────────────────────────────────────────────────────────────────────────────────


def credentials() -> list[str]:
    """Return the ``user:password`` pairs that may look. Flower does not start without one."""
    given = list(options.basic_auth or ())
    if not given and (path := os.environ.get("FLOWER_BASIC_AUTH_FILE")):
        given = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    if not given:
        raise SystemExit(
            "flower: set FLOWER_BASIC_AUTH=user:password, or FLOWER_BASIC_AUTH_FILE=<file of such lines>: "
            "it shows what the fleet does, so it does not start without a password"
        )
    if not all(name and password for name, _, password in (pair.partition(":") for pair in given)):
        raise SystemExit("flower: each credential must read user:password, neither of them empty")
    return given


def refuse_strangers(handler: BaseHandler) -> None:
    """Before every answer: Flower itself gives /metrics, /healthcheck and its error pages to anybody."""
    if handler.current_user is None:  # asking raises 401 where the password is wrong or missing
        raise HTTPError(401)


class GuardedFiles(BaseHandler, StaticFileHandler):
    """Flower's scripts and styles; Tornado would hand them to anybody."""


basic_auth = credentials()
BaseHandler.prepare = BaseApiHandler.prepare = refuse_strangers
settings["static_handler_class"] = GuardedFiles

# ── what they see ────────────────────────────────────────────────────────────────────────────────────────────────────

read_only = True  # workers are drained, reloaded and stopped by `tamis control`, by those who may use the broker
max_tasks = 10_000  # 5 KB of memory each
purge_offline_workers = 86_400  # seconds; workers of scaled nodes come and go
tasks_columns = "name,args,kwargs,result,state,received,runtime,worker"
TASK_COLUMNS |= {"name": "Stage", "args": "Video", "kwargs": "Run", "result": "Verdict"}


def format_task(task: Any) -> Any:
    """Show a task as stage, video, run and verdict. Flower calls it with a copy."""
    task.name = (task.name or "").removeprefix("tasks.")
    task.args, task.kwargs = _video_and_run(_value(task.args))
    task.result = _verdict(task.name, _value(task.result), task.result)
    return task


def _video_and_run(given: Any) -> tuple[str, str]:
    """A row's message as tasks/telemetry/event_text.py describes it, or the arguments of a run's task: run, shard."""
    if isinstance(given, dict):
        return str(given.get("video", "")), f"{given.get('run')} row {given.get('ordinal')}"
    if isinstance(given, tuple):
        return "", " shard ".join(str(word) for word in given[:2])
    return "", ""


def _verdict(stage: str, value: Any, text: str | None) -> str:
    """How it ended. A download hands on its whole message, which is the next stage's business."""
    if isinstance(value, str):
        return value
    is_handed_on = stage == "download" and (text or "").startswith("{")
    return "downloaded" if is_handed_on else ""


def _value(text: str | None) -> Any:
    """What an event's text stands for: JSON, or a Python literal; None where it is neither, or was cut off."""
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError):
            return read(text or "")
    return None
