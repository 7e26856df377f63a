"""Each field of the groups is a setting with a variable of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from inference.decode.options import DecodeLimits
from tasks.settings import Settings
from tasks.settings.environment import SETTINGS
from tasks.settings.groups import PREFIX


def test_no_two_fields_share_a_variable() -> None:
    settings = Settings()
    groups = [getattr(settings, group.name) for group in dataclasses.fields(settings)]
    assert len(SETTINGS) == sum(len(dataclasses.fields(group)) for group in groups)


@pytest.mark.parametrize("variable", SETTINGS)
def test_the_kind_of_a_setting_accepts_its_default(variable: str) -> None:
    value: Any = getattr(getattr(Settings(), SETTINGS[variable].group), SETTINGS[variable].name)
    assert Settings.of(**{variable.removeprefix(PREFIX).lower(): value}) == Settings()


def test_changing_a_value_leaves_the_others() -> None:
    changed = Settings.of(shard_rows=7, node="n1").changed(max_video_seconds=9.0)
    assert (changed.flow.shard_rows, changed.node.name, changed.decode.limits.max_seconds) == (7, "n1", 9.0)
    assert changed.delivery == Settings().delivery


def test_every_limit_of_decoding_that_has_a_setting_follows_it() -> None:
    named = {field.name for field in dataclasses.fields(DecodeLimits)} & {one.name for one in SETTINGS.values()}
    assert named == {field.name for field in dataclasses.fields(DecodeLimits)} - {"min_decoded_fraction"}
    chosen = dataclasses.replace(Settings().decode, **dict.fromkeys(named, 7))
    assert DecodeLimits(**dict.fromkeys(named, 7)) == chosen.limits
