"""The decoder child: ``python -m inference.decode.processes.child FD PARENT_PID DECODER LIMITS_JSON``.

It dies with its parent, decodes one video at a time under a memory limit, and may be killed at any moment. Crops are
encoded here, too: the encoder is fed by hostile files as much as the decoder.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inference.decode.crop import crop_once
from inference.decode.decoders.adapter import VideoDecoder, open_decoder
from inference.decode.one_pass import decode_once
from inference.decode.options import GPU_DECODERS, DecodeLimits
from inference.decode.processes import wire
from inference.decode.processes.confinement import confine
from inference.errors import BadVideo, VideoFault
from inference.types import Crop

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NICENESS = 5  # the model's own threads come first
_OOM_SCORE = "500"  # when the node runs out of memory, the kernel should take a child before the worker


def main(arguments: list[str]) -> None:
    """Serve until the parent hangs up."""
    descriptor, parent_pid, decoder_name, limits_json = arguments
    confine(keeps_network=decoder_name in GPU_DECODERS)
    _die_with(int(parent_pid))
    limits = DecodeLimits(**json.loads(limits_json))
    decoder = open_decoder(decoder_name)
    _give_way()
    _limit_memory(limits.memory_bytes + limits.max_frames_bytes)
    gc.freeze()  # what is imported stays: the collections below look only at one video's objects
    with socket.socket(fileno=int(descriptor)) as connection:
        try:
            wire.send(connection, {"ready": True})
            while True:
                request, target = wire.receive(connection)
                with _closing(target):
                    _answer(connection, request, target, decoder, limits)
                gc.collect()  # PyAV's containers and streams refer to each other, and hold decoded pictures
        except wire.PeerGoneError:
            return


def _answer(
    connection: socket.socket, request: dict[str, Any], target: int | None, decoder: VideoDecoder, limits: DecodeLimits
) -> None:
    """Decode; with a file to write to, encode the crop as well."""
    plan = wire.plan_from_json(request["plan"])
    path, size_bytes = request["path"], request["size_bytes"]
    encoded: dict[str, Any] = {}
    try:
        if target is None:
            decoded, descriptor = decode_once(decoder, path, size_bytes, plan, limits)
        else:
            crop = Crop(**request["crop"])
            decoded, written, descriptor = crop_once(path, size_bytes, plan, crop, target, limits)
            encoded = {"encoded": asdict(written)}
    except BadVideo as error:
        wire.send(connection, {"fault": error.code, "message": str(error)})
    except MemoryError as error:
        _out_of_memory(connection, str(error), limits)
    except OSError as error:
        if error.errno == errno.ENOMEM:  # so mapping memory fails
            _out_of_memory(connection, str(error), limits)
        else:  # the file went away, or its disk fails: not the video's fault
            wire.send(connection, {"errno": error.errno, "message": error.strerror or str(error)})
    else:
        try:
            wire.send(connection, {**wire.yield_to_json(decoded, plan), **encoded}, descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _closing(descriptor: int | None) -> Iterator[None]:
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _out_of_memory(connection: socket.socket, reason: str, limits: DecodeLimits) -> None:
    message = f"needs more than the limit of {limits.memory_bytes} bytes to decode: {reason or 'allocation failed'}"
    wire.send(connection, {"fault": VideoFault.DECODE_MEMORY.value, "message": message})


def _die_with(parent_pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before we asked
        sys.exit(1)


def _give_way() -> None:
    os.nice(_NICENESS)
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_memory(allowance_bytes: int) -> None:
    """Bound the address space to what is mapped now plus the allowance."""
    mapped_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    ceiling = mapped_pages * resource.getpagesize() + allowance_bytes
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))


if __name__ == "__main__":
    main(sys.argv[1:])
