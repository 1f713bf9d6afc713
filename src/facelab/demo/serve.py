"""Serve the demo on this machine until Ctrl-C."""

import errno
import signal
import socket
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from facelab.errors import ConfigError

HOST = "127.0.0.1"
_CONNECTIONS = 32
_PATIENCE_S = 3  # for answers under way, after Ctrl-C


def reserve(port: int) -> socket.socket:
    """A socket that listens on a port of 127.0.0.1: nobody else can take it, and requests wait until it is served.

    Raises:
        ConfigError: the port is in use, or not allowed.
    """
    found = socket.socket()
    # A port stays reserved for a minute after a server has ended, unless asked for like this.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()
    except OSError as error:
        found.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise ConfigError(f"port={port} {why}. Type port={_free_port(port)}, which is free.") from error
    return found


def _free_port(port: int) -> int:
    """The next free port, or else any."""
    for other in (*range(max(port, 1023) + 1, min(port + 100, 65536)), 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, other))
            return int(probe.getsockname()[1])
    return 0


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A server of the application, which speaks HTTP only, believes no proxy and writes nothing but errors."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=HOST,
            http="h11",
            ws="none",
            lifespan="off",
            loop="asyncio",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_level="error",
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_PATIENCE_S,
        )
    )


def serve(app: ASGIApp, place: socket.socket) -> None:
    """Serve on a socket until Ctrl-C or SIGTERM, which end it without an error.

    Args:
        app: the application.
        place: a socket, as by `reserve`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        make_server(app).run(sockets=[place])
