"""Changed sources are noticed, what changes nothing is not, and no asset is said to change without its ``code=``."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from sl_assets_tests.code_versions import (
    ENGINES,
    PACKAGE,
    RECORD,
    SHARED,
    Asset,
    Group,
    current,
    declared_assets,
    outdated,
    read_record,
    record,
)

MODULES = {
    "stages/__init__.py": "",
    "stages/training.py": "RATE = 0.1\n",
    "stages/numbers/assets.py": 'from any.stages.numbers.filtering import keep\n\n\nraw = keep(code="1")\n',
    "stages/numbers/filtering.py": (
        '"""Which rows pass."""\n\nLIMIT = 10\n"""Most numbers."""\n\n\n'
        'def keep(row):\n    """Whether ``row`` passes."""\n    return row < LIMIT  # strictly\n'
    ),
    "stages/report/assets.py": "from any.stages.numbers.filtering import LIMIT\n\nprint(LIMIT)\n",
    "engines/sampling.py": "SEED = 1\n",
    "engines/peft/loop.py": "STEPS = None\n",
}
ASSETS = {
    "raw": Asset("numbers", "1"),
    "raw@hub": Asset("numbers", "1"),
    "kept": Asset("numbers", "1"),
    "chart": Asset("report", "1"),
}
FILTERING = "stages/numbers/filtering.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package with two stages and an engine."""
    root = tmp_path / "any"
    for name, text in MODULES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def file(root: Path, tmp_path: Path) -> Path:
    """The package on record."""
    file = tmp_path / "code_versions.json"
    assert record(root, ASSETS, file, unasked) == "recorded in code_versions.json"
    return file


def unasked(lines: Sequence[str]) -> str:
    raise AssertionError(f"asked: {lines}")


def rewrite(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))


def changed(root: Path, file: Path) -> list[str]:
    """Groups whose sources are not those on record."""
    recorded = read_record(file)
    return [name for name, group in current(root, ASSETS).items() if group.sources != recorded[name].sources]


def raised(*names: str) -> dict[str, Asset]:
    return ASSETS | {name: ASSETS[name]._replace(code="2") for name in names}


def test_the_record_is_current() -> None:
    if lines := list(outdated(read_record(RECORD), current(PACKAGE, declared_assets()))):
        pytest.fail("; ".join(lines), pytrace=False)


def test_every_declaration_is_on_record() -> None:
    groups = current(PACKAGE, declared_assets())
    for folder, group in groups.items():
        if folder in (SHARED, ENGINES):
            continue
        tree = ast.parse((PACKAGE / "stages" / folder / "assets.py").read_bytes())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        declarations = sum(any(keyword.arg == "code" for keyword in call.keywords) for call in calls)
        assert 0 < declarations <= len(group.versions), (
            f"{folder}: {declarations} declarations, but only {sorted(group.versions)} known; "
            "switch the others on in EVERYTHING or IMPORTS of code_versions.py"
        )
    in_stages = {name for folder, group in groups.items() if folder not in (SHARED, ENGINES) for name in group.versions}
    assert in_stages == groups[SHARED].versions.keys() == groups[ENGINES].versions.keys()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (FILTERING, "  # strictly", ""),
        (FILTERING, "Which rows pass", "Which rows do"),
        (FILTERING, "Most numbers", "Numbers at most"),
        (FILTERING, "Whether ``row`` passes", "If it does"),
        (FILTERING, "LIMIT = 10", "LIMIT = (\n    10\n)"),
        ("stages/numbers/assets.py", 'code="1"', "code='1',"),
    ],
)
def test_comments_docstrings_and_format_do_not_count(root: Path, file: Path, name: str, old: str, new: str) -> None:
    rewrite(root, name, old, new)
    assert changed(root, file) == []
    assert record(root, ASSETS, file, unasked) == "code_versions.json is current"


@pytest.mark.parametrize(
    ("name", "old", "new", "group"),
    [
        (FILTERING, "LIMIT = 10", "LIMIT = 11", "numbers"),
        (FILTERING, "row < LIMIT", "row <= LIMIT", "numbers"),
        ("stages/numbers/assets.py", 'code="1"', 'code="2"', "numbers"),
        ("stages/training.py", "0.1", "0.2", "shared"),
        ("engines/sampling.py", "1", "True", "engines"),
        ("engines/peft/loop.py", "None", "[]", "engines"),
    ],
)
def test_what_the_code_does_counts(root: Path, file: Path, name: str, old: str, new: str, group: str) -> None:
    rewrite(root, name, old, new)
    assert changed(root, file) == [group]
    (line,) = outdated(read_record(file), current(root, ASSETS))
    assert line.startswith(f"{group}: ")
    assert line.endswith("run make versions")


def test_renamed_and_new_modules_count(root: Path, file: Path) -> None:
    (root / FILTERING).rename(root / "stages/numbers/sieve.py")
    assert changed(root, file) == ["numbers"]
    (root / "stages/numbers/sieve.py").rename(root / FILTERING)
    assert changed(root, file) == []
    (root / "engines/peft/memory.py").touch()
    assert changed(root, file) == ["engines"]


def test_a_folder_of_nothing_but_bytecode_is_no_group(root: Path, file: Path) -> None:
    (root / "stages/gone/__pycache__").mkdir(parents=True)
    assert record(root, ASSETS, file, unasked) == "code_versions.json is current"


def test_the_digest_is_the_same_on_every_python(file: Path) -> None:
    # Of MODULES, by Python 3.11.7, 3.12.1 and 3.13.0.
    assert read_record(file)["numbers"].sources == "caa49119993347d8"


def test_a_change_is_recorded_once_it_is_said_to_change_nothing(root: Path, file: Path) -> None:
    rewrite(root, FILTERING, "10", "11")
    asked: list[Sequence[str]] = []

    def answer(lines: Sequence[str]) -> str:
        asked.append(lines)
        return "y"

    assert record(root, ASSETS, file, answer) == "recorded in code_versions.json"
    assert asked == [
        [
            "numbers: sources changed",
            "  imported by report, whose assets can be named as well",
            "  kept 1",
            "  raw 1",
            "  raw@hub 1",
        ]
    ]
    assert read_record(file) == current(root, ASSETS)


@pytest.mark.parametrize("answer", ["", " , ", "n", "No"])
def test_without_a_yes_nothing_is_recorded(root: Path, file: Path, answer: str) -> None:
    before = file.read_bytes()
    rewrite(root, FILTERING, "10", "11")
    rewrite(root, "engines/sampling.py", "1", "2")
    answers = {"numbers": "y", "engines": answer}
    done = record(root, ASSETS, file, lambda lines: answers[lines[0].partition(":")[0]])
    assert done.startswith("nothing recorded: raise code= of what changes in engines")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "group", "answer", "asset", "folder"),
    [
        (FILTERING, "numbers", "raw, kept", "kept", "numbers"),
        (FILTERING, "numbers", "raw@hub", "raw@hub", "numbers"),
        (FILTERING, "numbers", "chart", "chart", "report"),
        ("engines/sampling.py", "engines", "raw,chart", "chart", "report"),
    ],
)
def test_assets_that_change_must_be_raised_first(
    root: Path, file: Path, name: str, group: str, answer: str, asset: str, folder: str
) -> None:
    before = file.read_bytes()
    rewrite(root, name, "1", "2")
    assert changed(root, file) == [group]
    fix = rf"^{asset}: still code 1; raise code= of that asset in sl_assets/stages/{folder}/assets.py first$"
    with pytest.raises(click.ClickException, match=fix):
        record(root, raised("raw"), file, lambda _: answer)
    assert file.read_bytes() == before
    assert record(root, raised("raw", asset), file, lambda _: answer) == "recorded in code_versions.json"
    assert read_record(file) == current(root, raised("raw", asset))
    assert read_record(file)["engines"].versions[asset] == "2"


def test_an_unknown_asset_is_refused(root: Path, file: Path) -> None:
    rewrite(root, FILTERING, "10", "11")
    with pytest.raises(click.ClickException, match=r"'row': no such asset; .* of kept, raw, raw@hub$"):
        record(root, ASSETS, file, lambda _: "row")


def test_new_and_removed_assets_and_versions_alone_are_recorded_unasked(root: Path, file: Path) -> None:
    others = {name: asset for name, asset in raised("raw").items() if name != "kept"} | {"new": Asset("report", "1")}
    assert list(outdated(read_record(file), current(root, raised("raw")))) == [
        f"{group}: code= of raw is not the one in code_versions.json; run make versions"
        for group in ("engines", "numbers", "shared")
    ]
    assert record(root, others, file, unasked) == "recorded in code_versions.json"
    assert read_record(file)["numbers"].versions == {"raw": "2", "raw@hub": "1"}
    assert read_record(file)["report"].versions == {"chart": "1", "new": "1"}


def test_new_and_removed_stages_are_recorded_unasked(root: Path, file: Path) -> None:
    (root / "stages/report").rename(root / "stages/pictures")
    assert [line.partition(":")[0] for line in outdated(read_record(file), current(root, ASSETS))] == [
        "pictures",
        "report",
    ]
    record(root, ASSETS | {"chart": Asset("pictures", "1")}, file, unasked)
    assert list(read_record(file)) == ["engines", "numbers", "pictures", "shared"]


def test_the_file_of_an_unfinished_merge_is_named(root: Path, file: Path) -> None:
    file.write_text('{\n<<<<<<< HEAD\n  "engines": {}\n')
    with pytest.raises(click.ClickException, match=r"^code_versions.json: line 2 is no JSON; .* run make versions$"):
        record(root, ASSETS, file, unasked)


def test_the_command_on_a_copy_of_the_project(tmp_path: Path) -> None:
    here = Path(__file__).parent
    bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "sl_assets", ignore=bytecode)
    (tmp_path / "sl_assets_tests").mkdir()
    for source in here.glob("*.py"):
        shutil.copy(source, tmp_path / "sl_assets_tests")
    file = tmp_path / "sl_assets_tests" / "code_versions.json"
    numbers = tmp_path / "sl_assets/stages/numbers"

    def versions(answers: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "sl_assets_tests.code_versions"]
        done = subprocess.run(command, cwd=tmp_path, input=answers, capture_output=True, text=True, check=False)
        return done.returncode, (done.stderr or done.stdout).splitlines()[-1]

    assert versions("") == (0, "recorded in code_versions.json")
    first = file.read_bytes()
    assert json.loads(first)["numbers"]["versions"].keys() >= {"raw_dataset", "raw_dataset@hub", "raw_dataset@jsonl"}

    with (numbers / "filtering.py").open("a") as module:
        module.write("\nANOTHER = 1\n")
    assert versions("") == (1, "Error: nothing recorded: no answer; run make versions in a terminal")
    code, line = versions("filtered_dataset\n")
    assert code == 1
    assert line.endswith("raise code= of that asset in sl_assets/stages/numbers/assets.py first")
    assert file.read_bytes() == first

    assets = numbers / "assets.py"
    assets.write_text(re.sub(r'code="[^"]+"', 'code="raised"', assets.read_text()))
    assert versions("filtered_dataset\n")[0] == 0
    group = Group(**json.loads(file.read_text())["numbers"])
    assert set(group.versions.values()) == {"raised"}
