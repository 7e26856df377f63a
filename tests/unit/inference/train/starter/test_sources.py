"""The table of sources: readable, split by hash, and the demo's clips always held out."""

from __future__ import annotations

from inference.train.starter.fetch import COMMANDS
from inference.train.starter.sources import Kind, held_out, read_sources


def test_every_source_names_a_known_registry_and_a_licence() -> None:
    sources = read_sources()
    packages = [*sources.sources, sources.stickers, sources.encoder]
    assert {one.package.partition(":")[0] for one in packages} <= set(COMMANDS)
    assert all(one.licence and one.files for one in packages)
    assert len({one.group or one.name for one in sources.sources if one.kind is not Kind.PHOTO}) >= 12


def test_the_clips_that_the_demo_shows_are_never_trained_on() -> None:
    demo = {"bikes", "carphone", "bunny", "globe", "city"}
    assert {one.name for one in read_sources().sources if one.is_held_out} >= demo


def test_a_third_of_the_groups_is_held_out_the_same_at_every_call_and_others_with_another_seed() -> None:
    groups = [f"group-{number}" for number in range(30)]
    first = held_out(groups, 1)
    assert len(first) == 10
    assert first == held_out(reversed(groups), 1)
    assert first != held_out(groups, 2)
