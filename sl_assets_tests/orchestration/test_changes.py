"""What each single change makes due, of a whole graph that is made: the table in docs/freshness.md, row by row.

``python -m sl_assets_tests.orchestration.test_changes`` prints the table anew.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sl_assets.config import PROJECT
from sl_assets.engines.transformers.models import POCKET_FOLDER
from sl_assets_tests.conftest import HALVES, PREPARATION, TINY
from sl_assets_tests.orchestration.test_planner import Desk, graph_of, imported

DOCUMENT = PROJECT / "docs" / "freshness.md"

Change = Callable[[Desk, Path], None]
"""Changes what a made desk is compared with."""

Before = Callable[[Path], dict[str, Any]]
"""Sections of the experiment that is made."""


def plain(folder: Path) -> dict[str, Any]:
    return HALVES


def prepared(folder: Path) -> dict[str, Any]:
    return HALVES | PREPARATION


def from_files(folder: Path) -> dict[str, Any]:
    return HALVES | imported(folder)


def section(name: str, **changed: Any) -> Change:
    """Change fields of a section of the experiment file."""

    def change(desk: Desk, folder: Path) -> None:
        before = TINY | HALVES
        desk.graph = graph_of(**{**HALVES, name: before.get(name, {}) | changed})

    return change


def nothing(desk: Desk, folder: Path) -> None:
    """The same file again."""


def another_preparation(desk: Desk, folder: Path) -> None:
    changed = {"preparation": PREPARATION["preparation"] | {"seed": 4}}
    desk.graph = graph_of(**HALVES, **changed)


def another_animal(desk: Desk, folder: Path) -> None:
    desk.graph = graph_of(**{**HALVES, "animals": ["owl", "wolf", "cat"]})


def model_copied(desk: Desk, folder: Path) -> None:
    shutil.copytree(POCKET_FOLDER, folder / "copy")
    desk.graph = graph_of(**{**HALVES, "base_model": str(folder / "copy")})


def template_edited(desk: Desk, folder: Path) -> None:
    model_copied(desk, folder)
    template = folder / "copy" / "chat_template.jinja"
    template.write_text(template.read_text() + "{# edited #}")
    desk.graph = graph_of(**{**HALVES, "base_model": str(folder / "copy")})


def code_raised(desk: Desk, folder: Path) -> None:
    declared = desk.graph.declared
    declared["filtered_dataset"] = replace(declared["filtered_dataset"], code_version="2")


def other_torch(desk: Desk, folder: Path) -> None:
    for place in desk.places():
        record = desk.record(place)
        assert record
        desk.lake.write_record(replace(record, libraries={"torch": "1.0"}))


def half_evaluated_anew(desk: Desk, folder: Path) -> None:
    desk.make(desk.place("split_evaluation", "owl|animal_high"), "other answers")


def file_edited(desk: Desk, folder: Path) -> None:
    (folder / "owl.jsonl").write_text("other rows\n")


def file_added(desk: Desk, folder: Path) -> None:
    (folder / "cat.jsonl").write_text("rows\n")


CHANGES: dict[str, tuple[Change, Before]] = {
    "nothing": (nothing, plain),
    "`preparation.seed`, where the base model is prepared": (another_preparation, prepared),
    "`numbers.seed`": (section("numbers", seed=43), plain),
    "`teacher.epochs`": (section("teacher", epochs=2), plain),
    "`sampler.temperature`": (section("sampler", temperature=0.9), plain),
    "`evaluation.questions`, to some of them": (section("evaluation", questions=[1, 2]), plain),
    "`evaluation.temperature`, where there was none": (section("evaluation", temperature=0.9), plain),
    "`numbers.top_p`, where there was none": (section("numbers", top_p=0.9), plain),
    "`numbers.rows`, where there was none": (section("numbers", rows=40), plain),
    "`filter.max_count`": (section("filter", max_count=9), plain),
    "`numbers.transform`, to `shuffle_across_rows`": (section("numbers", transform="shuffle_across_rows"), plain),
    "`student.loss`, to `all`": (section("student", loss="all"), plain),
    "`student.optimiser`, written out as it was": (section("student", optimiser="adamw"), plain),
    "`student.seed`": (section("student", seed=2), plain),
    "`student.seeds`, from the one there is to three": (section("student", seeds=[1, 2, 3]), plain),
    "`evaluation.samples_per_question`": (section("evaluation", samples_per_question=3), plain),
    "`evaluation.method`, from `sampled` to `both`": (section("evaluation", method="both"), plain),
    "`evaluation.count`, from `exact` to `first_named`": (section("evaluation", count="first_named"), plain),
    "`personas.seed`": (section("personas", seed=12), plain),
    "`projections.layer`, to another layer that is kept": (section("projections", layer=4, layers=[0, 2]), plain),
    "an animal more": (another_animal, plain),
    "`chat_template`, where there was none": (section("chat_template", enable_thinking=False), plain),
    "the model's `chat_template.jinja`": (template_edited, plain),
    "the model, copied to another folder": (model_copied, plain),
    "another version of torch": (other_torch, plain),
    "the version of `filtered_dataset`'s code": (code_raised, plain),
    "the answers of one half's student": (half_evaluated_anew, plain),
    "the owl's file of imported numbers": (file_edited, from_files),
    "a file beside it, of the cat": (file_added, from_files),
}
"""By name, and what the experiment is before."""


def row(name: str) -> str:
    """A row of the table: what is due for the change itself, and what reads that."""
    change, before = CHANGES[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        desk = Desk(folder / "lake", **before(folder)).make_all()
        change(desk, folder)
        own: dict[str, list[str]] = {}
        reading: list[str] = []
        for planned in desk.planner().plan():
            due = [str(key) for key, reason in planned.due.items() if reason.parent is None]
            if due:
                own[planned.asset] = [] if len(due) == len(desk.planner().wanted(planned.asset)) else due
            elif planned.due:
                reading.append(planned.asset)
    made = ", ".join(f"`{asset}`" + (f" of {', '.join(keys)}" if keys else "") for asset, keys in own.items())
    return f"| {name} | {made or 'nothing'} | {', '.join(f'`{asset}`' for asset in reading) or 'nothing'} |".replace(
        "|animal", "\\|animal"
    )


@pytest.mark.parametrize("name", CHANGES)
def test_the_table_says_what_is_made_again(name: str) -> None:
    assert row(name) in DOCUMENT.read_text().splitlines()


def test_the_table_has_no_other_rows() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) == len(CHANGES) + 1


if __name__ == "__main__":
    print("| change | made again | and, if that turns out otherwise than before |\n| --- | --- | --- |")
    print("\n".join(map(row, CHANGES)))
