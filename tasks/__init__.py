"""Tasks, messages and workers. The only package that imports both storage and inference.

``feed`` → ``download`` → ``infer`` → ledger → ``write_shard``; :mod:`tasks.pipeline` holds each step as a function.
The Celery application is :mod:`tasks.celery`, where ``celery -A tasks`` finds it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

# Other distributions have these names; such a package, or a folder on the path, could be imported instead of ours.
_NEIGHBOURS = ("inference", "storage", "beat", "celeryconfig")


def foreign_modules(home: Path, names: tuple[str, ...] = _NEIGHBOURS) -> dict[str, str]:
    """Return name -> file for each of tamis's top-level modules that Python would not import from ``home``."""
    foreign = {}
    for name in names:
        spec = find_spec(name)
        origin = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if origin is None:
            foreign[name] = "missing"
        elif not Path(origin).resolve().is_relative_to(home):
            foreign[name] = origin
    return foreign


if _foreign := foreign_modules(Path(__file__).resolve().parent.parent):
    # Every process and every command imports this file first: one line and status 2, not a traceback.
    _found = ", ".join(f"{name} is {origin}" for name, origin in _foreign.items())
    print(  # noqa: T201 -- the command's own error line
        f"tamis: tasks is {__file__}, but {_found}: remove it from the path (PYTHONPATH, the working directory) or "
        "uninstall it; tamis wants a virtual environment of its own",
        file=sys.stderr,
    )
    raise SystemExit(2)
