"""The finished server from the command line: `python -m chatlab`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import sys
from functools import partial

from chatlab.classroom import Classroom, check_code
from chatlab.harness import new_loop, serve, stop_at_signal, where
from chatlab.log import LogError, is_address
from chatlab.page import BROWSER_CLIENT
from chatlab.recovery import Recovery, store_at
from chatlab.server import check_origin, create_app, names_at

_say = partial(print, flush=True)


def main() -> None:
    """Serve the chat until Ctrl-C; exit with one sentence if it cannot be served."""
    options = _options()
    if not BROWSER_CLIENT.exists():
        _say("The Socket.IO browser client is not installed here: the page loads it from its CDN.")
    try:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            runner.run(_serve(options))
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0].lower()  # then: the address
        sys.exit(f"Cannot serve on {options.host}, port {options.port}: {reason}.")
    except (sqlite3.Error, LogError) as error:
        sys.exit(f"Cannot serve: {error}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chatlab", description="Serve the chat.")
    parser.add_argument("--port", type=_port, default=3000, help="0 takes any free port")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--db", help="the file of the message log (chat.db; of a class, class.db)")
    place.add_argument(
        "--log", type=_address, help="a log that servers share: postgresql://user@host/database"
    )
    parser.add_argument("--keep", type=_count, help="how many of the newest messages are kept")
    parser.add_argument("--host", type=_host, default="127.0.0.1", help="the address to listen on")
    parser.add_argument(
        "--origin",
        type=_origin,
        action="append",
        default=[],
        dest="origins",
        help="an address of the page behind a proxy, such as https://chat.example",
    )
    parser.add_argument(
        "--class", action="store_true", dest="classroom", help="serve a class that has a join code"
    )
    parser.add_argument("--code", type=_code, help="the join code of the class, not a new one")
    options = parser.parse_args()
    if options.code and not options.classroom:
        parser.error("argument --code: only a class has a join code: give --class too")
    if options.log and options.classroom:
        parser.error("argument --log: a class has one server, and a file: give --db")
    options.db = options.log or options.db or ("class.db" if options.classroom else "chat.db")
    return options


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number up to 65535")
    return int(text)


def _address(text: str) -> str:
    if is_address(text):
        return text
    raise argparse.ArgumentTypeError("an address begins with postgresql://; a file is --db")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages: give 1 or more")
    return int(text)


def _host(text: str) -> str:
    with contextlib.suppress(UnicodeError):  # no machine can have such a name
        if text.encode("idna"):
            return text
    raise argparse.ArgumentTypeError(f"{text!r} is not an address")


def _origin(text: str) -> str:
    try:
        check_origin(text)
        return text
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not as https://chat.example") from None


def _code(text: str) -> str:
    try:
        return check_code(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no join code: {error}") from None


async def _serve(options: argparse.Namespace) -> None:
    await (_serve_class if options.classroom else _serve_chat)(options, stop_at_signal())


async def _serve_chat(options: argparse.Namespace, stop: asyncio.Event) -> None:
    def ready(port: int) -> None:
        _say(f"The chat is on {where(options.host, port)} (Ctrl-C stops it)")

    recovery = partial(Recovery, store=store_at(options.db))
    pages = {"origins": options.origins, "hosts": names_at(options.host)}
    build = partial(create_app, db=options.db, recovery=recovery, keep=options.keep, **pages)
    await serve(build, options.host, options.port, ready, stop)


async def _serve_class(options: argparse.Namespace, stop: asyncio.Event) -> None:
    names = ("host", "port", "db", "keep", "code", "origins")
    classroom = Classroom(**{name: getattr(options, name) for name in names})

    def ready(console: int) -> None:
        with contextlib.suppress(UnicodeEncodeError):  # the terminal cannot show the picture
            _say(classroom.invitation.terminal())
        address = f"Your console, on this machine alone: {classroom.console_at(console)}"
        lines = (classroom.invitation, classroom.note, address, "Ctrl-C ends the class")
        _say(*filter(None, lines), sep="\n")

    await serve(classroom.build, "127.0.0.1", 0, ready, stop)


if __name__ == "__main__":
    main()
