"""The notebook of the documentation, executed from its own folder."""

import nbformat
import pytest
from nbclient import NotebookClient

from configs import DOCS


@pytest.mark.slow
def test_tutorial_runs():
    notebook = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(DOCS)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3  # The photo in colour, the losses, and the photo in colours of `demo`.
    assert any("the model of epoch" in output.get("text", "") for output in outputs)
