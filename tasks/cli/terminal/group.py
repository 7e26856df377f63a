"""``tamis``: Celery's command line with tamis's commands first, its own help, version and defaults."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from click_didyoumean import DYMGroup

GROUPS = {
    "Run a fleet": ("up", "doctor", "flower"),
    "Sift tables": ("sift", "runs", "watch", "pause", "resume", "cancel"),
    "Work on their rows": ("failures", "retry", "decide", "compact", "ingest"),
}
OTHERS = "Work with videos and models on this machine"
CELERYS = "Celery's own commands, for this fleet (https://docs.celeryq.dev)"
PLUGINS = "celery.commands"  # the group of entry points of tamis's commands and of flower
FLOWER_CONFIG = Path(__file__).resolve().parents[2] / "telemetry" / "flower_config.py"
FLOWER_HELP = "Serve web pages about tasks and workers, behind a password (docs/monitoring.md)."
PROLOGUE = (
    "tamis sifts video at scale: it reads the rows of a table, judges each video, and writes one result row per video. "
    "Settings are TAMIS_* environment variables (docs/settings.md)."
)
EPILOGUE = (
    'Completion in bash: eval "$(_TAMIS_COMPLETE=bash_source tamis)"; zsh_source and fish_source are the others. '
    "Celery's options, such as --quiet, stand before the command."
)


class TamisGroup(DYMGroup):  # type: ignore[misc]  # it has no types
    """The commands in groups: tamis's first, under headings, then Celery's under one.

    A subclass, because click calls these methods to format the help and to find a command. A command is imported when
    it is named: all of them take longer to import than most of them to run.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *metadata.entry_points(group=PLUGINS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command; None if there is none of that name."""
        for entry in metadata.entry_points(group=PLUGINS, name=cmd_name):
            self.add_command(entry.load(), cmd_name)
        command: click.Command | None = super().get_command(ctx, cmd_name)
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help."""
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS] [ARGUMENTS]…")
        for text in ("", PROLOGUE):
            formatter.write_text(text)
        for heading, names in self.headings(ctx).items():
            with formatter.section(heading):
                formatter.write_dl([(name, self._sentence(ctx, name)) for name in names])
        with formatter.section("Options"):
            formatter.write_dl(
                [("--version", "Print the version."), ("-h, --help", "Print this help, or a command's.")]
            )
        for text in ("", EPILOGUE):
            formatter.write_text(text)

    def headings(self, ctx: click.Context) -> dict[str, Sequence[str]]:
        """Return heading -> its commands. A command of tamis that no heading names stands under ``OTHERS``."""
        named = [name for names in GROUPS.values() for name in names]
        rest = [name for name in self.list_commands(ctx) if name not in named]
        ours = [name for name in rest if name in _own_commands()]
        return {**GROUPS, OTHERS: ours, CELERYS: [name for name in rest if name not in ours]}

    def _sentence(self, ctx: click.Context, name: str) -> str:
        """Return the first sentence of a command's help."""
        if name == "flower":
            return FLOWER_HELP
        command = self.get_command(ctx, name)
        paragraph = " ".join((command.help or "").split("\n\n")[0].split()) if command else ""
        return f"{paragraph.removesuffix('.').partition('. ')[0]}."


def tamis_group() -> TamisGroup:
    """Return the group of all commands, Celery's own included, for the app of this package."""
    celery = _celery_without_plugins()
    run_celery: Any = celery.callback
    options = [option for option in celery.params if option.name != "version"]
    group = TamisGroup(
        name="tamis",
        commands=dict(celery.commands),
        params=options,
        callback=lambda **given: run_celery(version=False, **given),
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "CELERY"},
    )
    return click.version_option(metadata.version("tamis"), prog_name="tamis")(group)


def with_flower_config(arguments: Sequence[str]) -> list[str]:
    """Return the arguments; those of ``flower`` without ``--conf`` get tamis's configuration."""
    names = [argument for argument in arguments if not argument.startswith("-")]
    if names[:1] != ["flower"] or any(argument.startswith("--conf") for argument in arguments):
        return list(arguments)
    return [*arguments, f"--conf={FLOWER_CONFIG}"]


def _own_commands() -> set[str]:
    return {entry.name for entry in metadata.entry_points(group=PLUGINS) if entry.module.startswith("tasks.")}


def _celery_without_plugins() -> click.Group:
    """Return Celery's group, which would import every plugin when it is imported itself."""
    entry_points = metadata.entry_points

    def without_plugins(**asked: Any) -> Any:
        return () if asked == {"group": PLUGINS} else entry_points(**asked)

    metadata.entry_points = without_plugins
    try:
        from celery.bin.celery import celery
    finally:
        metadata.entry_points = entry_points
    group: click.Group = celery
    return group
