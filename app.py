"""A page to drop a photo on, and an HTTP API, on one server.

    python app.py

The page is at /, the API at /api/colorize and /api/health. The server listens on this machine alone unless --host says
otherwise.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from dataclasses import dataclass
from typing import Annotated

from common.command_line import parse, prepare_imports, run, say

if __name__ == "__main__":
    prepare_imports()

import keras
import uvicorn
from annotated_types import Interval
from starlette.requests import ClientDisconnect

from colorizing.serving.server import make_server
from colorizing.serving.service import Limits, share_one_heap
from common.errors import UserError
from common.files import describe_error
from models.precision import choose_policy, describe_devices

# Seconds for requests to end before the server does. Docker kills it after ten.
GRACE_SECONDS = 8


@dataclass(frozen=True)
class Options(Limits):
    """Serves a page and an HTTP API that colorize photos."""

    host: str = "127.0.0.1"  # Address to listen on. Behind a reverse proxy leave it as it is.
    port: Annotated[int, Interval(ge=1, le=65535)] = 7860  # Port to listen on.


def listen(host, port):
    """A socket that listens at an address of this machine. Raises UserError where the address cannot be used."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        cause, *_ = describe_error(error).split(" (")  # Python adds the address.
        raise UserError(f"{host}:{port}: {cause}; give another --host or --port") from error
    except TypeError as error:  # Python cannot encode the name.
        raise UserError(f"{host}: not a name that a host can have; give another --host") from error


class Server(uvicorn.Server):
    """A uvicorn.Server that waits for requests when it ends, but not for pages that are open somewhere."""

    async def startup(self, sockets=None):
        logging.getLogger("uvicorn.error").addFilter(is_of_server)  # Of others it would print a traceback.
        await super().startup(sockets)

    async def shutdown(self, sockets=None):
        self.config.app.state.pages_end.set()
        await super().shutdown(sockets)


def is_of_server(record):
    """Whether a log record is of anything but a request that a visitor, or the end, broke off."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError | ClientDisconnect))


def main():
    options = parse(Options, "app.py")
    listening = listen(options.host, options.port)
    keras.config.set_dtype_policy(choose_policy())
    share_one_heap()
    server = make_server(options)
    say(f"http://{options.host}:{options.port}, colorizes on {describe_devices()}")
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how the server is ended.
        # uvicorn raises it once more at its end; this process then ends as after Ctrl-C, and removes the uploads.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        config = uvicorn.Config(
            server, log_level="warning", limit_concurrency=200, timeout_graceful_shutdown=GRACE_SECONDS
        )
        Server(config).run(sockets=[listening])
    # Python would wait for the photos that threads still work on, which can take a minute.
    server.state.folder.cleanup()
    os._exit(0)


if __name__ == "__main__":
    run(main)
