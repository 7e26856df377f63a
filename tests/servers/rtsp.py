"""An RTSP server on loopback (RFC 2326, RTP over its TCP connection): one H.264 clip, round and round in real time.

It can break off every connection and refuse the next ones, as a camera does that is restarted.
"""

from __future__ import annotations

import itertools
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av

RATE = 25
TICKS = 90_000 // RATE  # of the RTP clock, a frame
SESSION = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=clip", "c=IN IP4 127.0.0.1", "t=0 0")
MEDIA = ("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1", "a=framerate:25")
SDP = "\r\n".join([*SESSION, *MEDIA, "a=control:track", ""])


@dataclass
class Camera:
    """A running server: its address, and what it has done."""

    url: str
    sent_frames: int = 0
    refusals: int = 0  # connections that were closed at once
    _refusing: int = 0
    _stops: list[threading.Event] = field(default_factory=list)

    def break_off(self, refusing: int) -> None:
        """End every connection, and refuse as many of the next ones."""
        self._refusing = refusing
        for stop in self._stops:
            stop.set()

    def is_refused(self) -> bool:
        """Whether a new connection is to be closed at once."""
        if self._refusing == 0:
            return False
        self._refusing -= 1
        self.refusals += 1
        return True

    def new_stop(self) -> threading.Event:
        """An event that is set when connections are to end."""
        self._stops.append(threading.Event())
        return self._stops[-1]


def rtp_frames(clip: Path) -> list[list[bytes]]:
    """The RTP packets of each frame of an H.264 clip, as FFmpeg's muxer makes them."""
    with socket.socket(type=socket.SOCK_DGRAM) as rtp, socket.socket(type=socket.SOCK_DGRAM) as rtcp:
        port = _bind_pair(rtp, rtcp)
        frames: list[list[bytes]] = []
        with av.open(str(clip)) as source, av.open(f"rtp://127.0.0.1:{port}", "w", format="rtp") as output:
            stream = output.add_stream(
                "libx264", rate=RATE, options={"x264-params": "keyint=12:bframes=0:repeat-headers=1"}
            )
            shown = source.streams.video[0]
            stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
            stream.options = {"tune": "zerolatency"}
            for frame in source.decode(video=0):
                output.mux(stream.encode(frame))
                frames.append(_drain(rtp))
    return [packets for packets in frames if packets]


def _bind_pair(rtp: socket.socket, rtcp: socket.socket) -> int:
    while True:  # RTCP takes the next port: both must be free
        rtp.bind(("127.0.0.1", 0))
        port: int = rtp.getsockname()[1]
        rtcp.bind(("127.0.0.1", port + 1))
        return port


def _drain(rtp: socket.socket) -> list[bytes]:
    rtp.setblocking(False)
    packets = []
    try:
        while True:
            packets.append(rtp.recv(65_536))
    except BlockingIOError:
        return packets


@contextmanager
def camera(clip: Path) -> Iterator[Camera]:
    """Serve the clip at ``camera.url`` until the block ends."""
    frames = rtp_frames(clip)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if not made.is_refused():
                _serve(self, frames, made)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        made = Camera(f"rtsp://127.0.0.1:{server.server_address[1]}/clip")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield made
        made.break_off(0)
        server.shutdown()


def _serve(handler: socketserver.StreamRequestHandler, frames: Sequence[Sequence[bytes]], made: Camera) -> None:
    stop = made.new_stop()
    threading.Thread(target=_shut, args=(handler.connection, stop), daemon=True).start()
    while request := _request(handler):
        method, sequence = request
        extra, body = "", ""
        if method == "DESCRIBE":
            body = SDP
            extra = "Content-Type: application/sdp\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        elif method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nSession: 1\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        handler.wfile.write((head + body).encode())
        if method == "PLAY":
            _play(handler, frames, made, stop)
            return
    stop.set()


def _request(handler: socketserver.StreamRequestHandler) -> tuple[str, str] | None:
    """A request's method and sequence number; None when the client has gone."""
    method, sequence = "", ""
    try:
        while line := handler.rfile.readline().decode("latin-1").strip("\r\n"):
            method = method or line.split()[0]
            if line.lower().startswith("cseq:"):
                sequence = line.split(":")[1].strip()
    except OSError:
        return None
    return (method, sequence) if method else None


def _play(
    handler: socketserver.StreamRequestHandler, frames: Sequence[Sequence[bytes]], made: Camera, stop: threading.Event
) -> None:
    numbers = itertools.count()
    for place, packets in enumerate(itertools.cycle(frames)):
        for packet in packets:
            head = packet[:2] + struct.pack(">HI", next(numbers) % 65_536, place * TICKS % 2**32)
            whole = head + packet[8:]
            try:
                handler.wfile.write(b"$\0" + struct.pack(">H", len(whole)) + whole)
            except OSError:
                return
        made.sent_frames += 1
        if stop.wait(1 / RATE):
            return


def _shut(connection: socket.socket, stop: threading.Event) -> None:
    """Close the connection from outside: the handler may wait for a request."""
    stop.wait()
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
