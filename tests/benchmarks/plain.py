"""The server of chapter 03, taken from its notebook, to be measured: python plain.py DATABASE"""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path

from chatlab.harness import serve
from chatlab.server.app import create_app

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_catch_up.ipynb"


def chapter_03():
    """Return the handlers of the chapter: the first cell that defines a `server`."""
    sources = ("".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"])
    names = {}
    exec(next(source for source in sources if source.startswith("def server(")), names)
    return names["server"]


def say(port):
    print(f":{port}", flush=True)


async def main():
    build = partial(create_app, chapter_03(), db=sys.argv[1])
    await serve(build, "127.0.0.1", 0, say, asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
