from __future__ import annotations

import pytest
from celery.exceptions import ImproperlyConfigured

from tasks.worker.intake import check_queues


@pytest.mark.parametrize(("consumed", "is_gated"), [({"io"}, True), ({"gpu", "results"}, False), (set(), False)])
def test_only_workers_of_gated_queues_are_gated(consumed: set[str], *, is_gated: bool) -> None:
    assert check_queues(frozenset(consumed), frozenset({"io"})) is is_gated


def test_an_error_names_gated_and_other_queues_of_one_worker() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"\['io'\].*\['gpu'\]"):
        check_queues(frozenset({"io", "gpu"}), frozenset({"io"}))
