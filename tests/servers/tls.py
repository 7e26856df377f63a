"""TLS in front of a server without it: a certificate authority for the test, and a relay that terminates TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Relay:
    """The port of the relay, and the certificate of its authority."""

    port: int
    authority: Path  # PEM


@contextlib.contextmanager
def tls_relay(port: int, directory: Path) -> Iterator[Relay]:
    """Accept TLS for ``localhost`` on a free port, and forward the plain bytes to ``port``."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_serve, args=(listening, context, port), daemon=True).start()
        yield Relay(listening.getsockname()[1], directory / "ca.pem")


def _serve(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(OSError):  # closed
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_relay, args=(client, context, port), daemon=True).start()


def _relay(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        contextlib.suppress(OSError),
        context.wrap_socket(client, server_side=True) as plain,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        threading.Thread(target=_pump, args=(server, plain), daemon=True).start()
        _pump(plain, server)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(BYTES):
            sink.sendall(block)
    for side in (source, sink):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
