"""docs/settings.md has the kinds and forms of transforms that the code has, and examples that are taken."""

import re
from typing import get_args

import pytest
import yaml

from sl_assets.config import PROJECT, Transform
from sl_assets.config.reading import validated
from sl_assets.config.transforms import Form
from sl_assets_tests.conftest import HALVES, tiny_settings

PAGE = (PROJECT / "docs" / "settings.md").read_text()


def test_the_page_has_every_kind_of_transform_and_every_form() -> None:
    named = [kind.model_fields["kind"].annotation for kind in get_args(Transform)]
    kinds = [name for kind in named for name in get_args(kind)]
    assert [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")][: len(kinds)] == kinds
    assert all(f"`{form}`" in PAGE for form in get_args(Form))


BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", [block for block in BLOCKS if "transform" not in block])
def test_every_example_is_settings_that_are_taken(text: str) -> None:
    settings = yaml.safe_load(text)
    inside = {name: HALVES[name] | settings[name] for name in ("personas", "projections") if name in settings}
    # A model of more blocks than the pocket has.
    validated(tiny_settings(base_model="someone/model", **HALVES | settings | inside))
