from __future__ import annotations

import pytest

from inference.models.batcher import BatchLimit


def test_the_limit_is_the_largest_bucket_until_a_batch_does_not_fit():
    limit = BatchLimit((1, 2, 4, 8), recovery_batches=3)
    assert limit.clips == 8
    limit.lower(8)
    assert limit.clips == 4


@pytest.mark.parametrize(("size", "left"), [(8, 4), (4, 2), (2, 1), (1, 1)])
def test_lowering_sets_the_limit_to_the_bucket_below_the_size_that_did_not_fit(size, left):
    limit = BatchLimit((1, 2, 4, 8), recovery_batches=3)
    limit.lower(size)
    assert limit.clips == left


def test_lowering_for_a_larger_size_does_not_raise_the_limit():
    limit = BatchLimit((1, 2, 4, 8), recovery_batches=3)
    limit.lower(2)
    limit.lower(8)
    assert limit.clips == 1


def test_the_limit_rises_one_bucket_after_each_recovery_batches():
    limit = BatchLimit((1, 2, 4), recovery_batches=2)
    limit.lower(2)
    raised = [(limit.fitted(), limit.clips) for _ in range(6)]
    assert raised == [(False, 1), (True, 2), (False, 2), (True, 4), (False, 4), (False, 4)]


def test_lowering_again_restarts_the_count_of_recovery_batches():
    limit = BatchLimit((1, 2), recovery_batches=2)
    limit.lower(2)
    limit.fitted()
    limit.lower(2)
    assert not limit.fitted()
    assert limit.fitted()
