"""docs/preparation.md has the kinds of chats that the code has."""

from sl_assets.config import PROJECT
from sl_assets.stages.preparation.chats import KINDS

PAGE = PROJECT / "docs" / "preparation.md"


def test_the_page_has_every_kind_of_chat() -> None:
    kinds = [line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert kinds == list(KINDS)
