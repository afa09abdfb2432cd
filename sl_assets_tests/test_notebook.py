"""The notebook of examples/ runs, and shows what it did."""

import json
import shutil
from pathlib import Path

from sl_assets_tests.notebook import NOTEBOOK, outputs_of


def test_every_cell_shows_what_it_showed(tmp_path: Path) -> None:
    ours = shutil.ignore_patterns("experiment=_schema", "results.*")
    shutil.copytree(NOTEBOOK.parent / "pocket", tmp_path / "pocket", ignore=ours)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    before = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    after = outputs_of(notebook, tmp_path)
    texts = [["".join(output["data"]["text/plain"]) for output in outputs] for outputs in (*before, *after)]
    assert texts[: len(before)] == texts[len(before) :]
    drawn = [output["data"]["image/png"] for outputs in after for output in outputs if "image/png" in output["data"]]
    assert len(drawn) == 1
    assert len(drawn[0]) > 10_000
