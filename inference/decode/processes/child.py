"""The decoder child: ``python -m inference.decode.processes.child FD PARENT_PID DECODER LIMITS_JSON``.

It ends with its parent, decodes one video at a time under a memory limit, and may be killed at any moment. Crops are
encoded here, too: hostile files reach the encoder as well as the decoder.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from inference.decode.crop import crop_once
from inference.decode.decoders.adapter import VideoDecoder, open_decoder
from inference.decode.one_pass import decode_once
from inference.decode.options import GPU_DECODERS, DecodeLimits
from inference.decode.processes import wire
from inference.decode.processes.confinement import confine, die_with_parent, limit_memory, lower_priority
from inference.errors import BadVideo, VideoFault
from inference.types import Crop


def main(arguments: list[str]) -> None:
    """Serve requests until the parent closes the connection."""
    descriptor, parent_pid, decoder_name, limits_json = arguments
    confine(keeps_network=decoder_name in GPU_DECODERS)
    die_with_parent(int(parent_pid))
    limits = DecodeLimits(**json.loads(limits_json))
    decoder = open_decoder(decoder_name)
    lower_priority()
    limit_memory(limits.memory_bytes + limits.max_frames_bytes)
    gc.freeze()  # imported objects stay: the collections below visit only one video's objects
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
    """Decode the video and reply; encode the crop, too, if there is a file for it."""
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
        if error.errno == errno.ENOMEM:  # the error of a failed mapping of memory
            _out_of_memory(connection, str(error), limits)
        else:  # the file was removed or its disk fails: the video is not the cause
            wire.send(connection, {"errno": error.errno, "message": error.strerror or str(error)})
    else:
        try:
            wire.send(connection, {**wire.result_to_json(decoded, plan), **encoded}, descriptor)
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


if __name__ == "__main__":
    main(sys.argv[1:])
