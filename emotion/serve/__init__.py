"""`emotion serve`: a page to try a model in a browser, and a JSON API beside it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Callable

from ..analyzer import Analyzer
from .limits import Limits
from .worker import Worker

SHUTDOWN_SECONDS = 10   # that requests under way have after Ctrl-C


def serve(
    make_analyzer: Callable[[], Analyzer], model_name: str, host: str = "127.0.0.1", port: int = 8000,
    limits: Limits = Limits(),
) -> None:
    """Answer until Ctrl-C. The model is made once the port is known to be free.

    model_name: what the page and /health call the model.   port: 0 takes any that is free.
    Raises: ModuleNotFoundError without the extra `serve`; OSError for a port that cannot be had; what make_analyzer
    raises.
    """
    try:
        import uvicorn

        from .app import build
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"no {error.name}: it answers requests. pip install 'emotion[serve]'") from error
    with listening(host, port) as listener:
        address, port = listener.getsockname()[:2]
        is_loopback = ipaddress.ip_address(address).is_loopback
        if not is_loopback:
            print(
                f"emotion serve: WARNING: {address} can be reached from other machines, and there is no "
                "authentication and no TLS: whoever reaches it can have recordings analyzed, and the network can "
                "listen. Leave --host out, or put a proxy in front that has both.", file=sys.stderr,
            )
        app = build(Worker(make_analyzer()), model_name, limits, host if is_loopback else None)
        server = uvicorn.Server(uvicorn.Config(
            app, log_config=None, log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ))
        named = f"[{address}]" if ":" in address else address
        print(f"emotion serve: http://{named}:{port} (Ctrl-C ends)", file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt):   # handed on once what was under way is answered
            server.run([listener])


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises: OSError that tells what to do."""
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} must be from 0 to 65535: there are no others. Choose another --port.")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise OSError(f"cannot listen on port {port} of {host} ({error.strerror}). Choose "
                      f"another --port, --port 0 for any that is free, or end what holds it.") from error
