from __future__ import annotations

import pytest

from storage.backoff import Backoff

DRAWS = 200


@pytest.mark.parametrize(("attempt", "ceiling_seconds"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 10.0), (10_000, 10.0)])
def test_a_wait_doubles_up_to_the_longest_and_is_drawn_from_its_upper_half(
    attempt: int, ceiling_seconds: float
) -> None:
    waits = [Backoff(1.0, 10.0).wait_seconds(attempt) for _ in range(DRAWS)]
    assert all(ceiling_seconds / 2 <= wait <= ceiling_seconds for wait in waits)
    assert len(set(waits)) > DRAWS / 2


def test_a_first_wait_over_the_longest_is_cut_to_the_longest() -> None:
    assert Backoff(20.0, 10.0).wait_seconds(1) <= 10.0
