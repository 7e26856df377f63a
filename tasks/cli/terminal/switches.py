"""The filter switches of a command, built from the manifest: a new filter is an entry there and needs no code here."""

from __future__ import annotations

import click
from celery.bin.base import CeleryCommand

from inference.manifest import load_manifest
from tasks.cli.terminal.usage import OneLine, clear_errors, settings


class SwitchedCommand(CeleryCommand):
    """A command with one ``--<switch> true|false`` for each filter of the fleet's manifest.

    A subclass, because click calls ``get_params`` after the settings are known, and they name the manifest.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the declared options and, before ``--help``, one for each switch."""
        declared = super().get_params(ctx)
        try:
            switches = switch_options()
        except OneLine:
            if not ctx.resilient_parsing:
                raise
            switches = []  # a shell that completes a word shows no error
        helps = [option for option in declared if "--help" in option.opts]
        return [*(option for option in declared if option not in helps), *switches, *helps]


@clear_errors
def switch_options() -> list[click.Parameter]:
    """Return an option for each switch of the manifest, with the manifest's help text."""
    return [
        click.Option([f"--{switch}"], type=click.BOOL, default=True, show_default=True, help=text)
        for switch, text in load_manifest(settings().models.manifest).switches.items()
    ]


def switched_on(switches: dict[str, bool]) -> frozenset[str]:
    """Return the switches that are on; an error when there is none."""
    enabled = frozenset(name for name, is_on in switches.items() if is_on)
    if not enabled:
        raise OneLine(f"every filter is switched off: switch one on, for example --{next(iter(switches))} true")
    return enabled
