"""Run the chapters and store their outputs: `make notebooks`, or name the chapters to run.

Running it twice changes no byte: it records no times, keeps the ids of cells, and stores cells
whose output is different each time (tag nbval-ignore-output) without it. If a chapter fails, it
stores the others, and reports each failure with the chapter, the cell and the error.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from kernels import kernel_transport
from nbclient import NotebookClient
from slides import mark
from traitlets.config import Config

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


async def run(path: Path) -> str:
    """Run one notebook in a new kernel and store it. If a cell fails, do not change the file.

    Return what failed, and in which cell; "" if nothing did.
    """
    notebook, begun = nbformat.read(path, as_version=4), []
    try:
        with tempfile.TemporaryDirectory() as folder:
            await NotebookClient(
                notebook,
                timeout=60,
                kernel_name="python3",
                extra_arguments=["--IPKernelApp.log_level=ERROR"],  # warns about sockets
                record_timing=False,
                coalesce_streams=True,
                resources={"metadata": {"path": str(path.parent)}},
                on_cell_start=lambda cell, cell_index: begun.append(cell.id),
                config=listening_in(folder),
            ).async_execute()
    except Exception as error:  # a cell that fails or takes too long, a kernel that dies
        cell = f"cell {begun[-1]}" if begun else "before the first cell"
        without_colours = re.sub(r"\x1b\[[\d;]*m", "", str(error))
        return f"{path.name}, {cell}: {type(error).__name__}: {without_colours}"
    store(notebook, path)
    return ""


def listening_in(folder: str) -> Config:
    """Let a kernel listen on files in a folder, if the system allows it."""
    connection = {"transport": kernel_transport(), "connection_file": f"{folder}/kernel.json"}
    return Config({"KernelManager": connection})


def store(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook after a run, without what is different in each run."""
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            cell.outputs = []
    if notebook.cells:
        mark(notebook)
    path.write_text(nbformat.writes(notebook, indent=1).rstrip() + "\n")
    print(path.name, flush=True)


async def run_all(paths: list[Path]) -> str:
    """Run notebooks at the same time, each with its own kernel and servers. Return what failed."""
    return "\n".join(filter(None, await asyncio.gather(*map(run, paths))))


def main() -> None:
    paths = [Path(name).resolve() for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder  # no settings of the user
        failed = asyncio.run(run_all(paths))
    sys.exit(failed or None)


if __name__ == "__main__":
    main()
