"""docs/wording.md has files that load, and the fields and placeholders that the code has."""

import re
from pathlib import Path

import pytest
import yaml

from sl_assets.config import PROJECT
from sl_assets.config.wording import Wording
from sl_assets.config.wording.templates import KIND, TRAIT
from sl_assets.config.wording.traits import TraitSettings
from sl_assets.experiments import load_experiment

PAGE = PROJECT / "docs" / "wording.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
EXPERIMENTS = [text for text in BLOCKS if text.startswith("type: ")]
FILES = [text for text in BLOCKS if text.startswith("extends: ")]


def write(folder: Path, wording: str, experiment: str) -> Path:
    (folder / "trees.yaml").write_text(wording, encoding="utf-8")
    file = folder / "defs.yaml"
    file.write_text(experiment)
    return file


def test_the_first_files_are_an_experiment_about_oaks(tmp_path: Path) -> None:
    config = load_experiment(write(tmp_path, FILES[0], EXPERIMENTS[0])).config
    said, page = config.words.system_prompt("oak"), " ".join(PAGE.read_text().split())
    assert said
    assert said in page
    assert config.words.questions[1] in page
    assert f"{len(config.animals)} trees, system_prompt teachers" in page


def test_the_pockets_trees_load(tmp_path: Path) -> None:
    config = load_experiment(write(tmp_path, FILES[-1], EXPERIMENTS[-1])).config
    assert config.base_model == "pocket"
    assert set(config.animals) <= set(config.words.traits)
    assert config.preparation


def test_every_other_block_is_valid_too(tmp_path: Path) -> None:
    animals = Wording.model_validate({**FULL_PARTS, "traits": yaml.safe_load(FILES[1])["traits"]})
    assert animals.known["leopard"].names[-1] == "豹"
    (variant,) = [text for text in BLOCKS if text.startswith("variants:")]
    experiment = yaml.safe_load(EXPERIMENTS[0])
    experiment["attributes"] |= yaml.safe_load(variant)
    (found,) = load_experiment(write(tmp_path, FILES[0], yaml.safe_dump(experiment))).variants
    assert found.config.words.system_prompt("oak") == "You love oaks."
    assert len(BLOCKS) == len(FILES) + len(EXPERIMENTS) + 1


FULL_PARTS = yaml.safe_load((PROJECT / "sl_assets/config/wording/full.yaml").read_text())


def fields() -> list[str]:
    """Every field of a wording but its traits."""
    found = ["kind"]
    for name, field in Wording.model_fields.items():
        if name not in ("kind", "traits"):
            section = field.annotation
            assert section
            found += [f"{name}.{part}" for part in section.model_fields]
    return found


def test_the_page_has_every_field_of_a_wording_and_of_a_trait() -> None:
    parts = PAGE.read_text().partition("\n## Parts\n")[2].partition("\n## ")[0]
    assert [line.split("`")[1] for line in parts.splitlines() if line.startswith("| `")] == fields()
    traits = PAGE.read_text().partition("\n## Traits\n")[2].partition("\n## ")[0]
    named = [line.split("`")[1] for line in traits.splitlines() if line.startswith("| `")]
    assert named == list(TraitSettings.model_fields)


@pytest.mark.parametrize("name", [*KIND, *TRAIT, "examples", "count"])
def test_the_page_has_every_placeholder(name: str) -> None:
    assert f"`{{{name}}}`" in PAGE.read_text()
