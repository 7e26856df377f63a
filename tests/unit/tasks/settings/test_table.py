"""The table of settings and the groups hold the same values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.settings import Settings
from tasks.settings.table import FIRST, PREFIX, SECTIONS, SETTINGS

NOT_SET_BY_A_VARIABLE = {"decode.limits.min_decoded_fraction"}


def paths(group: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every value in the groups."""
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            yield from paths(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def test_every_value_has_one_variable_and_every_variable_one_value() -> None:
    assert sorted(one.path for one in SETTINGS.values()) == sorted(set(paths(Settings())) - NOT_SET_BY_A_VARIABLE)


def test_no_variable_is_in_two_sections() -> None:
    assert sum(len(section.settings) for section in SECTIONS) == len(SETTINGS)


def test_the_ten_first_names_are_settings() -> None:
    assert len(FIRST) == 10
    assert {PREFIX + name for name in FIRST} <= set(SETTINGS)


@pytest.mark.parametrize("variable", SETTINGS)
def test_the_kind_of_a_setting_accepts_its_default(variable: str) -> None:
    value: Any = Settings()
    for name in SETTINGS[variable].path.split("."):
        value = getattr(value, name)
    if value is not None:
        changed = Settings.of(**{variable.removeprefix(PREFIX).lower(): value})
        assert changed == Settings()


def test_changing_a_value_leaves_the_others() -> None:
    changed = Settings.of(shard_rows=7, node="n1").changed(max_video_seconds=9.0)
    assert (changed.flow.shard_rows, changed.node.name, changed.decode.limits.max_seconds) == (7, "n1", 9.0)
    assert changed.delivery == Settings().delivery
