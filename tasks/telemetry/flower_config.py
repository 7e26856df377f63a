"""Flower's configuration over a fleet, which `tamis flower` uses by default: it shows videos, runs and verdicts.

Every request needs a password. It comes from ``FLOWER_BASIC_AUTH=user:password``, from the file that
``FLOWER_BASIC_AUTH_FILE`` names, or else from ``flower.auth`` in the state directory, which is created with a random
password. Every user of the host can see ``--basic-auth`` on a command line. Other options of the command line override
this file.

Flower runs the file as its configuration: it reads the names that are options of Flower.
"""

from __future__ import annotations

import ast
import json
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from flower.api import BaseApiHandler
from flower.urls import settings
from flower.views import BaseHandler
from flower.views.tasks import TASK_COLUMNS
from tornado.options import options
from tornado.web import HTTPError, StaticFileHandler

from tasks.settings import current
from tasks.settings.environment import flower_password_file

# ── access ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def credentials() -> list[str]:
    """Return the ``user:password`` pairs with access."""
    given = list(options.basic_auth or ())
    if not given:
        path = flower_password_file() or current().node.state_dir / "flower.auth"
        try:
            if flower_password_file() is None:
                create_password(path)
            given = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except OSError as error:
            raise SystemExit(
                f"flower: no password: {path}: {error.strerror}; set FLOWER_BASIC_AUTH=user:password, correct "
                "FLOWER_BASIC_AUTH_FILE, or set TAMIS_STATE_DIR to a directory of yours"
            ) from None
    if not given or not all(name and password for name, _, password in (pair.partition(":") for pair in given)):
        raise SystemExit("flower: each credential must read user:password, with neither part empty")
    return given


def create_password(path: Path) -> None:
    """Create the file with a random password, readable by its owner alone, unless it exists; say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with suppress(FileExistsError), os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(f"tamis:{secrets.token_urlsafe(16)}\n")
    print(f"flower: user and password are in {path}", file=sys.stderr)  # noqa: T201 -- for the person who starts it


def require_password(handler: BaseHandler) -> None:
    """Refuse a request without a password. By itself Flower asks none for /metrics, /healthcheck and error pages."""
    if handler.current_user is None:  # the property raises 401 if the password is wrong or missing
        raise HTTPError(401)


class GuardedFiles(BaseHandler, StaticFileHandler):  # type: ignore[misc]  # Flower has no types
    """Flower's scripts and styles, behind the password: Tornado serves them without."""


basic_auth = credentials()
BaseHandler.prepare = BaseApiHandler.prepare = require_password
settings["static_handler_class"] = GuardedFiles

# ── content ──────────────────────────────────────────────────────────────────────────────────────────────────────────

read_only = True  # `tamis control` drains, reloads and stops workers; it needs access to the broker
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
    """Return the video and the row that tasks/telemetry/event_text.py names, or the run and shard of a run's task."""
    if isinstance(given, dict):
        return str(given.get("video", "")), f"{given.get('run')} row {given.get('ordinal')}"
    if isinstance(given, tuple):
        return "", " shard ".join(str(word) for word in given[:2])
    return "", ""


def _verdict(stage: str, value: Any, text: str | None) -> str:
    """Return the result to show. A download returns the whole message of the next stage: show one word for it."""
    if isinstance(value, str):
        return value
    is_handed_on = stage == "download" and (text or "").startswith("{")
    return "downloaded" if is_handed_on else ""


def _value(text: str | None) -> Any:
    """Return the value of an event's text: JSON or a Python literal; None if it is neither or was cut off."""
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError):
            return read(text or "")
    return None
