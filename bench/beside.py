"""The case ``fleet`` beside peers: a plain Celery chain, Daft and Ray Data, each with its own packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.comparison import Case
from bench.fleet import PEERS, comparison, line
from bench.peers.job import clips
from bench.stored import store_figures
from bench.summary import Measured, figures

NAME = "beside"


def closing_line(rounds: Mapping[str, Sequence[Measured]]) -> str:
    """Store the figures of a full run for the picture, and summarise it in one line."""
    if NAME in rounds:
        store_figures(NAME, figures(rounds[NAME], float(len(clips(False)))))
    return line(NAME, rounds)


CASE = Case(
    NAME,
    (comparison(NAME, PEERS),),
    short=(comparison(f"{NAME}-short", PEERS),),
    rounds=3,
    closing=closing_line,
)
