"""docs/preparation.md has the settings that the code has."""

from typing import Any

from sl_assets.config import PROJECT, PreparationSettings
from sl_assets.config.names import POCKET_ANIMALS
from sl_assets.stages.preparation.chats import KINDS

PAGE = PROJECT / "docs" / "preparation.md"


def rows() -> list[str]:
    """The rows of the page's table of settings."""
    lines = []
    for name, field in PreparationSettings.model_fields.items():
        default: Any = list(field.default) if isinstance(field.default, tuple) else field.default
        shown = "the pocket model's 32" if field.default == POCKET_ANIMALS else default
        lines.append(f"| `{name}` | {shown} | {field.description} |")
    return lines


def test_the_page_has_every_setting_and_every_kind_of_chat() -> None:
    _, kinds, settings = PAGE.read_text().split("\n| --- |")[0:3]
    found = [line for line in settings.splitlines() if line.startswith("| `")]
    assert found == rows()
    assert [line.split("`")[1] for line in kinds.splitlines() if line.startswith("| `")] == list(KINDS)


if __name__ == "__main__":
    print("\n".join(rows()))
