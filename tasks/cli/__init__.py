"""The commands. ``tamis …`` is ``celery -A tasks …``: they are registered in Celery's own command line."""

from __future__ import annotations

import io
import sys
from pathlib import Path


def main() -> None:
    """Run the command line with tamis's app chosen; without arguments, print the help."""
    from tasks.cli.terminal.group import tamis_group, with_flower_config

    # Celery puts the working directory first on the path unless it is there already: at the end, it hides no package.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    for stream in (sys.stdout, sys.stderr):  # a character that the terminal's encoding lacks ends no command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = with_flower_config(sys.argv[1:]) or ["--help"]
    tamis_group().main(args=["-A", "tasks", *arguments], prog_name="tamis")
