"""Messages between parent and decoder process: one JSON line each way, with a file descriptor.

JSON and not pickle: the child reads hostile files, so its messages must not run code in the parent.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from inference.decode.one_pass import PassResult
from inference.types import Clip, ClipRequest, DecodePlan, Fit, PacketFacts, PictureSpec, Scope, VideoProbe

_CHUNK_BYTES = 1 << 16


class PeerGoneError(Exception):
    """The other side closed the connection, most likely by dying."""


class DeadlineError(Exception):
    """The other side did not answer in time."""


def send(connection: socket.socket, message: Mapping[str, Any], descriptor: int | None = None) -> None:
    """Send one message. Raises :class:`PeerGoneError`."""
    line = json.dumps(message).encode() + b"\n"
    try:
        if descriptor is not None:  # sent with the first byte, so that the rest may be split
            socket.send_fds(connection, [line[:1]], [descriptor])
            line = line[1:]
        connection.sendall(line)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise PeerGoneError(str(error)) from error


def receive(connection: socket.socket, deadline: float | None = None) -> tuple[dict[str, Any], int | None]:
    """Wait for one message and its descriptor, up to ``deadline`` (``time.monotonic``).

    Raises :class:`PeerGoneError`, :class:`DeadlineError`; the descriptor is the caller's to close.
    """
    line = bytearray()
    descriptors: list[int] = []
    try:
        while not line.endswith(b"\n"):
            line += _some_bytes(connection, deadline, descriptors)
        message: dict[str, Any] = _parsed(line)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return message, descriptors[0] if descriptors else None


def _parsed(line: bytearray) -> dict[str, Any]:
    try:
        message: dict[str, Any] = json.loads(line)
    except ValueError as error:  # an unparseable reply: treat the child as dead
        raise PeerGoneError(f"not JSON: {bytes(line[:80])!r}") from error
    return message


def _some_bytes(connection: socket.socket, deadline: float | None, descriptors: list[int]) -> bytes:
    connection.settimeout(None if deadline is None else max(1e-3, deadline - time.monotonic()))
    try:
        received, arrived, _, _ = socket.recv_fds(connection, _CHUNK_BYTES, 1)
    except TimeoutError as error:
        raise DeadlineError from error
    except ConnectionResetError as error:
        raise PeerGoneError(str(error)) from error
    descriptors.extend(arrived)
    if not received:
        raise PeerGoneError("connection closed")
    return received


def plan_to_json(plan: DecodePlan) -> list[dict[str, Any]]:
    """Encode a plan."""
    return [asdict(request) for request in plan.requests]


def plan_from_json(requests: list[dict[str, Any]]) -> DecodePlan:
    """Decode a plan."""
    return DecodePlan(tuple(_request(dict(fields)) for fields in requests))


def result_to_json(decoded: PassResult, plan: DecodePlan) -> dict[str, Any]:
    """Encode the result of a decode, without the frames."""
    return {
        "probe": asdict(decoded.probe),
        "pictures": [[asdict(spec), pts.tolist()] for spec, pts in decoded.pts_seconds.items()],
        "clips": [
            [plan.requests.index(clip.request), clip.start_seconds, clip.end_seconds, clip.indices.tolist()]
            for clip in decoded.clips
        ],
        "decoded_fraction": decoded.decoded_fraction,
        "milliseconds": decoded.milliseconds,
        "decoder": decoded.decoder,
        "fallback_reason": decoded.fallback_reason,
    }


def result_from_json(message: Mapping[str, Any], plan: DecodePlan) -> PassResult:
    """Decode the output of :func:`result_to_json`."""
    return PassResult(
        probe=_probe(message["probe"]),
        pts_seconds={_spec(fields): np.array(pts, dtype=np.float64) for fields, pts in message["pictures"]},
        clips=tuple(
            Clip(plan.requests[request], start, end, np.array(indices, dtype=np.int64))
            for request, start, end, indices in message["clips"]
        ),
        decoded_fraction=message["decoded_fraction"],
        milliseconds=message["milliseconds"],
        decoder=message["decoder"],
        fallback_reason=message["fallback_reason"],
    )


def _probe(fields: Mapping[str, Any]) -> VideoProbe:
    packets = fields["packets"]
    if packets is not None:
        sizes, shown = tuple(packets["bytes_per_second"]), tuple(packets["frames_per_second"])
        packets = PacketFacts(sizes, shown, packets["pixels"])
    return VideoProbe(**{**fields, "packets": packets})


def _request(fields: dict[str, Any]) -> ClipRequest:
    scope, picture = Scope(fields.pop("scope")), _spec(fields.pop("picture"))
    return ClipRequest(scope=scope, picture=picture, **fields)


def _spec(fields: Mapping[str, Any]) -> PictureSpec:
    return PictureSpec(fields["height"], fields["width"], Fit(fields["fit"]), fields["shortest_edge"])
