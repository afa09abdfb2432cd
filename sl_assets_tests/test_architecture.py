"""What the tree promises beside the order of imports: stages are pure beside their glue, internals are in one place."""

import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import sl_assets

PACKAGE = Path(sl_assets.__file__).parent
GRAPH = grimp.build_graph("sl_assets", include_external_packages=True)
STAGES = sorted(
    module
    for module in GRAPH.find_descendants("sl_assets.stages")
    if not module.endswith(".assets") and not (PACKAGE / module.partition(".")[2].replace(".", "/")).is_dir()
)


@pytest.mark.parametrize("module", STAGES)
def test_a_stage_is_pure_beside_its_assets(module: str) -> None:
    # Of what it imports, types alone may know Dagster.
    chain = GRAPH.find_shortest_chain(module, "dagster")
    assert chain is None, " -> ".join(chain)


def test_every_stage_declares_its_assets_in_one_place() -> None:
    folders = [folder for folder in (PACKAGE / "stages").iterdir() if folder.is_dir() and folder.name[0] != "_"]
    assert len(folders) == 9
    assert all((folder / "assets.py").is_file() for folder in folders)


def test_private_modules_of_dagster_are_imported_in_one_module() -> None:
    private = re.compile(r"^\s*(from|import) dagster\._", re.MULTILINE)
    found = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if private.search(path.read_text())]
    assert found == [Path("orchestration/dagster_internals.py")]


def test_the_code_location_loads_without_what_runs_models() -> None:
    heavy = (
        "torch",
        "transformers",
        "peft",
        "vllm",
        "unsloth",
        "openai",
        "scipy",
        "matplotlib",
        "huggingface_hub",
        "vl_convert",
    )
    code = f"import sys, sl_assets.definitions as d; d.defs(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
