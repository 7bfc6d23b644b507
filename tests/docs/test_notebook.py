"""The notebook: its cells name what exists, and it runs from beginning to end.

Names that a cell has not made or imported are ruff's to find, which reads notebooks.
"""

import ast
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "first_policy.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs() -> None:
    assert [cell for cell in CELLS if cell.get("outputs") or cell.get("execution_count")] == []


def test_what_it_imports_and_asks_of_the_door_exists() -> None:
    door: Any = importlib.import_module("mjx_s2r")
    asked = set()
    for node in ast.walk(ast.parse("\n".join(CODE))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("mjx_s2r"):
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "s2r":
            asked.add(node.attr)
    assert {"make", "train", "ADR", "evaluate"} <= asked <= set(door.__all__)


@pytest.mark.slow
def test_it_runs_from_beginning_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
    said = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    assert "differs from JAX by" in said and "with 95 % confidence" in said
    assert list(tmp_path.glob("*/cartpole/policy.onnx"))
    shown = [o for c in notebook.cells for o in c.get("outputs", ()) if o.output_type != "stream"]
    assert len(shown) >= 3, "two pictures and a film"
