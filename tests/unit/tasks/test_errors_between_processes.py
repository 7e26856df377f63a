"""Every error of inference and storage survives pickling: a pool of processes hangs on one that does not."""

from __future__ import annotations

import pickle

import pytest

import inference.errors
import storage.errors
from inference.errors import BadVideo, VideoFault
from storage.errors import TierOpen

NEED_MORE = {BadVideo: BadVideo(VideoFault.CORRUPT, "half"), TierOpen: TierOpen("paused", wait_seconds=3.0)}
ERRORS = [
    NEED_MORE.get(kind) or kind("why")
    for module in (inference.errors, storage.errors)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_in_another_process(error: Exception) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)
