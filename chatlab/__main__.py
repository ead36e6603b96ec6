"""The finished server from the command line: `python -m chatlab`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sqlite3
import sys
from collections.abc import Callable
from functools import partial

from chatlab.background import serve
from chatlab.recovery import Recovery
from chatlab.server import BROWSER_CLIENT, create_app
from chatlab.session_store import SessionStore


def main() -> None:
    """Serve the chat until Ctrl-C; exit with one sentence if it cannot be served."""
    options = _options()
    if not BROWSER_CLIENT.exists():
        _say("The Socket.IO browser client is not installed here: the page loads it from its CDN.")
    try:
        with asyncio.Runner(loop_factory=_new_loop()) as runner:
            runner.run(_serve(options))
    except OSError as error:
        # asyncio says where once more, and newer ones say the number.
        reason = str(error.strerror or error).rpartition(": ")[-1].rpartition("] ")[-1]
        sys.exit(f"Cannot serve on {options.host}, port {options.port}: {reason}.")
    except sqlite3.Error as error:
        sys.exit(f"Cannot serve: {error}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chatlab", description="Serve the chat.")
    parser.add_argument("--port", type=_port, default=3000, help="0 takes any free port")
    parser.add_argument("--db", default="chat.db", help="the file of the message log")
    parser.add_argument("--keep", type=_count, help="how many of the newest messages are kept")
    parser.add_argument("--host", type=_host, default="127.0.0.1", help="the address to listen on")
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number up to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages: give 1 or more")
    return int(text)


def _host(text: str) -> str:
    try:
        if text.encode("idna"):
            return text
    except UnicodeError:
        pass  # no name of a machine can be written like this
    raise argparse.ArgumentTypeError(f"{text!r} is not an address")


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop's event loops where they are installed: they are quicker than asyncio's."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop
    return new_event_loop


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises instead
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
    shown = "localhost" if options.host == "127.0.0.1" else options.host

    def ready(port: int) -> None:
        _say(f"The chat is on http://{shown}:{port} (Ctrl-C stops it)")

    recovery = partial(Recovery, store=SessionStore(options.db))
    build = partial(create_app, db=options.db, recovery=recovery, keep=options.keep)
    await serve(build, options.host, options.port, ready, stop)


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    main()
