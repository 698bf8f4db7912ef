"""Execute the notebooks: ``run.py`` checks that each runs to its end, ``run.py --update`` keeps the outputs."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent.parent / "notebooks"


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs; a cell that raises ends the run with its traceback."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def main() -> None:
    paths = sorted(FOLDER.glob("*.ipynb"))
    if not paths:
        sys.exit(f"{FOLDER}: no notebook found")
    for path in paths:
        notebook = execute(path)
        if "--update" in sys.argv:
            nbformat.write(notebook, path)
        pictures = sum("image/png" in str(cell.get("outputs", "")) for cell in notebook.cells)
        print(f"{path.name}: {len(notebook.cells)} cells, {pictures} pictures")
    print(f"{len(paths)} passed, 0 failed")


if __name__ == "__main__":
    main()
