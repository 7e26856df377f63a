"""The base of the wire-level servers: HTTP/1.1 on loopback, a log of requests, and faults by rules."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.servers.faults import Faults, WireFault, damage, flipped


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its whole body."""

    method: str
    path: str  # percent-decoded
    target: str  # as in the request line
    query: Mapping[str, str]  # of a repeated name, the last value; "" for a name without a value
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. ``content_length`` is for HEAD, whose body is empty."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    content_length: int | None = None


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A line of the request log."""

    method: str
    target: str
    status: int  # 0: no reply was sent
    fault: WireFault | None


Respond = Callable[[Request], Response]


class WireServer:
    """Serves ``respond`` on a free port of 127.0.0.1 until closed. Hanging requests end with the server."""

    def __init__(self, respond: Respond, *, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.requests: list[LoggedRequest] = []
        self._closing = threading.Event()
        self._server = _Server(self, respond)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """``host:port``."""
        host, port = self._server.server_address[:2]
        return f"{host}:{port}"

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://{self.address}"

    def hold(self, seconds: float) -> None:
        """Wait, at most until the server closes."""
        self._closing.wait(seconds)

    def close(self) -> None:
        """Stop the server, and release the hanging requests."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def serving(respond: Respond, *, faults: Faults | None = None) -> Iterator[WireServer]:
    """Serve for the length of the block."""
    server = WireServer(respond, faults=faults)
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, wire: WireServer, respond: Respond) -> None:
        self.wire, self.respond = wire, respond
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # closed connections are expected
        pass


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every small reply waits 40 ms
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass

    def answer(self) -> None:
        request = _read(self)
        fault = self.server.wire.faults.draw(request.method, request.target)
        if fault is None:
            self.reply(request, self.server.respond(request), None)
        else:
            self.inject(request, fault)

    def inject(self, request: Request, fault: WireFault) -> None:
        self.server.wire.hold(fault.seconds)
        match fault.kind:
            case "status":
                self.reply(request, Response(fault.status, fault.body, dict(fault.headers)), fault)
            case "reset" | "hang":
                self.close_connection_now(request, fault)
            case "lose_reply":
                self.server.respond(request)
                self.close_connection_now(request, fault)
            case "flip_upload":
                self.reply(request, self.server.respond(replace(request, body=flipped(request.body))), fault)
            case _:  # slow, truncate, flip
                self.reply(request, self.server.respond(request), fault)

    def close_connection_now(self, request: Request, fault: WireFault) -> None:
        self.server.wire.requests.append(LoggedRequest(request.method, request.target, 0, fault))
        self.close_connection = True
        with contextlib.suppress(OSError):  # linger 0: the client sees a reset, not an end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()

    def reply(self, request: Request, response: Response, fault: WireFault | None) -> None:
        self.server.wire.requests.append(LoggedRequest(request.method, request.target, response.status, fault))
        self.send_response(response.status, responses.get(response.status, "Unknown"))
        for name, value in response.headers.items():
            self.send_header(name, value)
        length = len(response.body) if response.content_length is None else response.content_length
        if response.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        body = damage(response.body, fault)
        if request.method != "HEAD":
            self.send_body(body, fault)
        if len(body) < len(response.body):
            self.wfile.flush()
            self.close_connection = True

    def send_body(self, body: bytes, fault: WireFault | None) -> None:
        if fault is None or fault.kind != "trickle":
            self.wfile.write(body)
            return
        with contextlib.suppress(OSError):  # the client gave up
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                self.server.wire.hold(fault.seconds)
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the base class calls them so


def _read(handler: BaseHTTPRequestHandler) -> Request:
    parts = urlsplit(handler.path)
    return Request(
        method=handler.command,
        path=unquote(parts.path),
        target=handler.path,
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in handler.headers.items()},
        body=_read_body(handler),
    )


def _read_body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Expect", "").lower() == "100-continue":
        handler.send_response_only(100)
        handler.end_headers()
    if "chunked" not in handler.headers.get("Transfer-Encoding", "").lower():
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    chunks = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        chunks.append(handler.rfile.read(size))
        handler.rfile.readline()
    while handler.rfile.readline().strip():  # trailers
        pass
    return b"".join(chunks)
