"""Run the chapters and store their outputs: `make notebooks`, or name the chapters to run.

Running it twice changes no byte: no times are recorded, cell ids are kept, and cells whose output
is live (tag nbval-ignore-output) are stored without it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


async def run(path: Path) -> None:
    """Run one notebook in a fresh kernel and store it. A cell that fails leaves the file alone."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of local sockets
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    await client.async_execute()
    store(notebook, path)


def store(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook that has been run, without what differs from run to run."""
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            cell.outputs = []
    path.write_text(nbformat.writes(notebook, indent=1).rstrip() + "\n")
    print(path.name, flush=True)


async def run_all(paths: list[Path]) -> None:
    """Run notebooks side by side: each has a kernel and servers of its own."""
    await asyncio.gather(*map(run, paths))


def main() -> None:
    paths = [Path(name).resolve() for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder  # nobody's own settings
        asyncio.run(run_all(paths))


if __name__ == "__main__":
    main()
