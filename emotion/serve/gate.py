"""What is let in: from whom, how much, and how many at a time. Refused before it is read where that is possible."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
RETRY_SECONDS = 5
LINGER_SECONDS = 2.0   # that a refused client is listened to, so that it can end sending and read why


class Gate:
    """Stands before an application and turns away, as {"detail": ...}:

    403   a Host that is not this machine, where host is given (DNS rebinding); an Origin that is another page's
    413   a body over max_bytes: by its Content-Length at once, by what has come as soon as it has
    408   a body that takes longer than upload_seconds
    503   a body when max_requests are inside, before it is read
    """

    def __init__(self, app: ASGIApp, limits: Limits, host: str | None):
        self._app, self._limits = app, limits
        self._hosts = None if host is None else LOOPBACK | {host.lower()}
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        has_body = scope["method"] not in ("GET", "HEAD")
        try:
            self._check_sender(headers)
            if has_body:
                self._check_room(headers)
        except HTTPException as error:
            if has_body and "expect" not in headers:   # who expects to be asked for the body has not sent it yet
                await _drop(receive)
            return await JSONResponse({"detail": error.detail}, error.status_code, error.headers)(scope, receive, send)
        self.inside += has_body
        try:
            await self._app(scope, self._limited(receive) if has_body else receive, send)
        finally:
            self.inside -= has_body

    def _check_sender(self, headers: Headers) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            raise HTTPException(403, f"Host {host!r} is not this machine: a page elsewhere may have been given its "
                                     "address. Use http://localhost, or start with another --host.")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            raise HTTPException(403, f"Origin {origin!r} is not this server: pages elsewhere may not use it. Open its "
                                     "own page, or ask from a program.")

    def _check_room(self, headers: Headers) -> None:
        if int(headers.get("content-length", 0)) > self._limits.max_bytes:
            raise self._too_large()
        if self.inside >= self._limits.max_requests:
            raise HTTPException(503, f"{self.inside} requests are being answered, no more fit. Try again soon.",
                                {"Retry-After": str(RETRY_SECONDS)})

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the request is larger than {self._limits.max_bytes / 1e6:g} MB. Send a shorter or "
                                  "a compressed recording, or start with a larger --max-mb.", {"Connection": "close"})

    def _limited(self, receive: Receive) -> Receive:
        clock = asyncio.get_running_loop().time
        deadline, come, is_whole = clock() + self._limits.upload_seconds, 0, False

        async def limited() -> Message:
            nonlocal come, is_whole
            if is_whole:
                return await receive()   # waits until the client goes
            try:
                message = await asyncio.wait_for(receive(), deadline - clock())
            except asyncio.TimeoutError:
                raise HTTPException(408, f"the request has not arrived within {self._limits.upload_seconds:g} s. Send "
                                         "a smaller one, or over a faster line.", {"Connection": "close"}) from None
            come += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if come > self._limits.max_bytes:
                if not is_whole:
                    await _drop(receive)
                raise self._too_large()
            return message

        return limited


def _host_name(host: str) -> str | None:
    """Without the port and the brackets of IPv6."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:   # a bracket alone
        return None


async def _drop(receive: Receive) -> None:
    """Let a request come in, and keep nothing of it: a client that finds the line cut while sending reads no answer."""
    async def rest() -> None:
        while (await receive()).get("more_body", False):
            pass

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(rest(), LINGER_SECONDS)
