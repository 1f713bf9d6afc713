"""What the demo's server accepts: requests of this machine's own browser page, of bounded size, a few at a time."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Result = TypeVar("Result")

MIB = 1 << 20
_BODY_S = 60.0  # in which a request has to arrive
_DISCARDED_BYTES = 256 * MIB  # of a body that is too large: a browser shows an answer only after sending it
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware: refuses requests of other sites and bodies that are too large, and adds security headers.

    A page of another site can send requests to this server, and its host name can even be made to point here (DNS
    rebinding). So `Host` must be an address or name of this machine, and a POST must come from the page itself.

    Args:
        app: the application.
        limit_bytes: called with a path; the largest body of a request to it.
    """

    def __init__(self, app: ASGIApp, limit_bytes: Callable[[str], int]) -> None:
        self._app, self._limit_bytes = app, limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        refusal = _refusal(scope["method"], Headers(scope=scope))
        body = _Body(receive, self._limit_bytes(scope["path"]))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if refusal:
            await JSONResponse({"error": refusal}, 403)(scope, body.receive, send_guarded)
        else:
            await self._app(scope, body.receive, send_guarded)


def _refusal(method: str, headers: Headers) -> str:
    """Why a request is refused; empty if it is not."""
    host = headers.get("host", "")
    if not _is_local(host):
        return f"The demo answers only to 127.0.0.1 and localhost, not to '{host[:100]}'."
    if method in ("GET", "HEAD"):
        return ""
    origin = headers.get("origin")
    if (origin is not None and origin != f"http://{host}") or headers.get("sec-fetch-site") in (
        "cross-site",
        "same-site",
    ):
        return "The demo answers only to its own page, not to other sites."
    return ""


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine; any port, since SSH may forward another one."""
    try:
        name = urlsplit(f"//{host}").hostname
        return name == "localhost" or (name is not None and ipaddress.ip_address(name).is_loopback)
    except ValueError:
        return False


class _Body:
    """The body of a request, counted while it arrives."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive, self._limit, self._count = receive, limit_bytes, 0
        self._deadline: float | None = None
        self._complete = False

    async def receive(self) -> Message:
        """The next message of the request.

        Raises:
            HTTPException: the body is too large, or slow.
        """
        if self._complete:
            return await self._receive()
        message = await self._next()
        if self._count <= self._limit:
            return message
        while not self._complete and self._count < _DISCARDED_BYTES:
            await self._next()
        raise HTTPException(413, f"This is too large: at most {_size(self._limit)} are accepted.")

    async def _next(self) -> Message:
        loop = asyncio.get_running_loop()
        self._deadline = self._deadline or loop.time() + _BODY_S
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, f"The request did not arrive in {_BODY_S:.0f} seconds.") from error
        self._count += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // 1024} KiB"


class Turns:
    """Runs work on one thread, in order, for a bounded number of requests: a flood of them does not fill the memory.

    Args:
        most: requests that are served or wait at a time.
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._thread = ThreadPoolExecutor(1, "demo")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place in the queue, for the duration of the block.

        Raises:
            HTTPException: all places are taken.
        """
        if self._taken >= self._most:
            raise HTTPException(503, f"The demo is busy with {self._most} other requests. Try again in a moment.")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def run(self, work: Callable[[], Result]) -> Result:
        """Call `work` when all earlier work is done."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
