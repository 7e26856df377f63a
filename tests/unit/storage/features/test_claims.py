from __future__ import annotations

import multiprocessing
import os
import signal

from storage.features.claims import Claims


def _hold(root, pipe):
    with Claims(root) as claims, claims.claimed("a.mp4", waits=False) as is_ours:
        pipe.send(is_ours)
        pipe.recv()


def test_a_claim_keeps_other_processes_out_until_its_process_is_killed(tmp_path):
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    holder = spawning.Process(target=_hold, args=(tmp_path, theirs))
    holder.start()
    assert ours.recv() is True
    with Claims(tmp_path) as claims:
        with claims.claimed("a.mp4", waits=False) as is_ours:
            assert not is_ours
        with claims.claimed("b.mp4", waits=False) as is_ours:
            assert is_ours
        os.kill(holder.pid, signal.SIGKILL)
        with claims.claimed("a.mp4", waits=True) as is_ours:
            assert is_ours
    holder.join()
    ours.close()
    theirs.close()
