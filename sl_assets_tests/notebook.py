"""The notebook of examples/ without a server: ``python -m sl_assets_tests.notebook`` writes its outputs anew."""

import ast
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl

from sl_assets.config import PROJECT

NOTEBOOK = PROJECT / "examples" / "notebook.ipynb"


@contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """As a notebook runs where it lies."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def outputs_of(notebook: dict[str, Any], folder: Path) -> list[list[dict[str, Any]]]:
    """What every code cell of ``notebook`` shows, run in ``folder``: the value of its last line, and its figures."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    names: dict[str, Any] = {}
    found: list[list[dict[str, Any]]] = []
    with standing_in(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                source = "".join(cell["source"])
                shown = _texts(_value(source, names), source)
                found.append(shown + [_picture(plt.figure(number)) for number in plt.get_fignums()])
                plt.close("all")
    return found


def _value(source: str, names: dict[str, Any]) -> Any:
    """Run ``source``; the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), str(NOTEBOOK), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


def _texts(value: Any, source: str) -> list[dict[str, Any]]:
    # A notebook shows nothing of a line that ends in a semicolon.
    if value is None or source.endswith(";"):
        return []
    text = repr(value).splitlines(keepends=True)
    return [{"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": {"text/plain": text}}]


def _picture(figure: Any) -> dict[str, Any]:
    written = BytesIO()
    figure.savefig(written, format="png", dpi=80)
    data = {"image/png": b64encode(written.getvalue()).decode(), "text/plain": ["<Figure>"]}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def main() -> None:
    """Write the notebook's outputs anew."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, outputs) in enumerate(zip(cells, outputs_of(notebook, NOTEBOOK.parent), strict=True), start=1):
        for output in outputs:
            if "execution_count" in output:
                output["execution_count"] = number
        cell.update(execution_count=number, outputs=outputs)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
