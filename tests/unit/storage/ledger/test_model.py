from __future__ import annotations

from dataclasses import replace

import pytest

from storage.ledger import RunSpec

SPEC = RunSpec("odps://p/t/ds=1", "odps://p/o/ds=1", ("com", "vfx"), "starter", "abc")


def test_equal_specs_have_equal_ids_and_any_difference_another() -> None:
    others = [
        replace(SPEC, tables="x"),
        replace(SPEC, outputs="x"),
        replace(SPEC, filters=("com",)),
        replace(SPEC, manifest="x"),
        replace(SPEC, manifest_digest="x"),
    ]
    assert len({spec.run_id for spec in (SPEC, replace(SPEC), *others)}) == 1 + len(others)


def test_a_run_id_never_changes_between_releases() -> None:
    assert SPEC.to_json() == (
        '{"filters":["com","vfx"],"manifest":"starter","manifest_digest":"abc",'
        '"outputs":"odps://p/o/ds=1","tables":"odps://p/t/ds=1"}'
    )
    assert SPEC.run_id == "4126f558c23911c3"


def test_a_spec_survives_json() -> None:
    spec = replace(SPEC, tables="odps://p/表/ds=1", filters=())
    assert RunSpec.from_json(spec.to_json()) == spec
    assert RunSpec.from_json(spec.to_json().encode()).run_id == spec.run_id


def test_unsorted_filters_are_refused() -> None:
    for filters in (("vfx", "com"), ("com", "com")):
        with pytest.raises(ValueError, match="sorted and unique"):
            replace(SPEC, filters=filters)


def test_features_are_part_of_a_runs_id_and_absent_ones_leave_the_id_of_older_releases() -> None:
    with_features = replace(SPEC, features='{"save_path":"/f"}')
    assert with_features.run_id != SPEC.run_id
    assert "features" not in SPEC.to_json()
    assert RunSpec.from_json(with_features.to_json()) == with_features
