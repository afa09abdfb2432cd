"""Nobody may change what an asset gives and forget its ``code=``: the sources of every stage are on record.

``make versions`` compares them with ``code_versions.json``, asks what a change means, and records the answer;
``test_code_versions.py`` fails until it has been given.
"""

import ast
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import dagster as dg

import sl_assets
from sl_assets.components import declare, declare_with_variants
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets_tests.conftest import HALVES, PREPARATION, tiny_config

PACKAGE = Path(sl_assets.__file__).parent
RECORD = Path(__file__).with_name("code_versions.json")

SHARED, ENGINES = "shared", "engines"
"""Groups beside the stages' folders: modules that lie in none of them, and what models write. Every asset may depend on
these."""

QUESTION = "Do equal settings still give equal results? [y/N, or the assets whose results change]"

DILUTED = {"kind": "dilute", "share": 0.5}
EVERYTHING: dict[str, Any] = (
    HALVES
    | PREPARATION
    | {
        "steering": {"layers": [2], "coefficients": [1.0]},
        "hub": {},
        "evaluation": {"method": "both"},
        "numbers": {"transform": DILUTED},
    }
)
"""Optional sections that declare assets, on top of the tiny experiment and its finetuned teacher."""

HUB_FILES = {"kind": "hub", "repo": "any/{condition}", "path": "any"}
IMPORTS: dict[str, dict[str, Any]] = {
    "jsonl": {"numbers": {"source": {"kind": "jsonl", "path": "{condition}.jsonl"}, "transform": DILUTED}},
    "hub": {"numbers": {"source": HUB_FILES, "transform": DILUTED}, "student": {"source": HUB_FILES}},
}
"""Sections that declare an asset of the same name otherwise: it has a ``code=`` of its own, on record as
``asset@source``."""


class Asset(NamedTuple):
    """Where an asset is declared: its stage's folder, and its ``code=``."""

    folder: str
    code: str


class Group(NamedTuple):
    """Sources that change together.

    Attributes:
        sources: digest of the modules.
        versions: ``code=`` of the assets that depend on them.
    """

    sources: str
    versions: dict[str, str]


State = dict[str, Group]
Assets = Mapping[str, Asset]
Ask = Callable[[Sequence[str]], str]
"""Shows lines to a person and returns the answer to `QUESTION`."""


def declared_assets() -> dict[str, Asset]:
    """Every asset that an experiment file can declare."""
    first = ExperimentGraph("any", tiny_config(**EVERYTHING))
    variant = ExperimentGraph("any__rank2", tiny_config(**EVERYTHING, student={"rank": 2}))
    # With what compares variants.
    declare_with_variants(first, {"rank2": variant})
    assets = {name: Asset(_folder(asset.stage), asset.code_version) for name, asset in first.declared.items()}
    for source, sections in IMPORTS.items():
        graph = ExperimentGraph("any", tiny_config(**EVERYTHING | sections))
        declare(graph)
        for name, asset in graph.declared.items():
            # What is imported does not read what the experiment would have made it from.
            if asset.deps != first.declared[name].deps:
                assets[f"{name}@{source}"] = Asset(_folder(asset.stage), asset.code_version)
    return assets


def _folder(stage: str) -> str:
    return stage.partition("_")[2]


def group_modules(root: Path) -> dict[str, list[Path]]:
    """Modules of each group, of the package in the folder ``root``."""
    stages = root / "stages"
    folders = {folder.name: sorted(folder.rglob("*.py")) for folder in sorted(stages.iterdir()) if folder.is_dir()}
    others = {SHARED: sorted(stages.glob("*.py")), ENGINES: sorted((root / ENGINES).rglob("*.py"))}
    # A folder that another branch left behind holds nothing but bytecode.
    return {name: modules for name, modules in (folders | others).items() if modules}


def sources_digest(root: Path, modules: Sequence[Path]) -> str:
    """Fingerprint of what ``modules`` do and of their places below ``root``; comments and docstrings have no part."""
    digest = hashlib.sha256()
    for module in modules:
        digest.update(f"{module.relative_to(root).as_posix()}\n{shape(_parsed(module))}\n".encode())
    return digest.hexdigest()[:16]


def shape(node: object) -> str:
    """A syntax tree as text, without strings that are statements: docstrings, of attributes too.

    Unlike ``ast.dump`` it is the same on every Python that the project runs on: 3.12 adds fields, which are empty
    where nothing new is used, and what counts as a printable character differs.
    """
    if isinstance(node, list):
        return f"[{','.join(shape(item) for item in node if not _is_docstring(item))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = (f"{name}={shape(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({','.join(fields)})"


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_bytes(), filename=str(module))


def current(root: Path, assets: Assets) -> State:
    """The groups as they are now."""

    def versions(group: str) -> dict[str, str]:
        return {name: asset.code for name, asset in assets.items() if group in (SHARED, ENGINES, asset.folder)}

    modules = group_modules(root)
    return {group: Group(sources_digest(root, modules[group]), versions(group)) for group in modules}


def read_record(file: Path) -> State:
    """The groups as they were recorded; none where there is no file yet."""
    if not file.exists():
        return {}
    try:
        return {name: Group(**group) for name, group in json.loads(file.read_text()).items()}
    except json.JSONDecodeError as error:
        raise click.ClickException(
            f"{file.name}: line {error.lineno} is no JSON; keep either side of the merge, then run make versions"
        ) from None


def write_record(file: Path, state: State) -> None:
    """Keep ``state`` as a file whose differences can be read in a review."""
    groups = {name: group._asdict() for name, group in state.items()}
    file.write_text(json.dumps(groups, indent=2, sort_keys=True) + "\n")


def outdated(recorded: State, found: State) -> Iterator[str]:
    """A line for each group that is not as recorded, with the fix."""
    for name in sorted(recorded.keys() | found.keys()):
        old, new = recorded.get(name), found.get(name)
        if old is None or new is None or old.sources != new.sources:
            yield f"{name}: its sources changed and {RECORD.name} has not been told what that means; run make versions"
        elif old.versions != new.versions:
            names = sorted(name for name, _ in old.versions.items() ^ new.versions.items())
            yield f"{name}: code= of {names[0]} is not the one in {RECORD.name}; run make versions"


def record(root: Path, assets: Assets, file: Path, ask: Ask) -> str:
    """Record in ``file`` the package at ``root``, asking about every change of its sources; says what was done.

    It is all or nothing: what an answer is compared with must not move before every question is answered.
    """
    recorded, found = read_record(file), current(root, assets)
    if found == recorded:
        return f"{file.name} is current"
    for name, group in found.items():
        if name not in recorded or recorded[name].sources == group.sources:
            continue
        answer = ask([f"{name}: sources changed", *_imported_by(root, name), *_version_lines(recorded[name], group)])
        match names := [part.strip() for part in answer.split(",") if part.strip()]:
            case [] | ["n" | "N" | "no" | "No"]:
                return f"nothing recorded: raise code= of what changes in {name}, then run make versions again"
            case ["y" | "Y" | "yes" | "Yes"]:
                continue
        known = {asset: code for old in recorded.values() for asset, code in old.versions.items()}
        _require_raised(name, names, assets, known | recorded[name].versions)
    write_record(file, found)
    return f"recorded in {file.name}"


def _version_lines(old: Group, new: Group) -> Iterator[str]:
    for name, code in sorted(new.versions.items()):
        before = old.versions.get(name)
        yield f"  {name} {code}" + (" (new)" if before is None else f" (was {before})" if before != code else "")


def _imported_by(root: Path, group: str) -> Iterator[str]:
    """A line that names the other stages that import modules of ``group``, whose assets may change with it."""
    if group in (SHARED, ENGINES):
        return
    folders = [
        folder
        for folder, modules in group_modules(root).items()
        if folder != group and any(group in _imported_stages(module) for module in modules)
    ]
    if folders:
        yield f"  imported by {', '.join(folders)}, whose assets can be named as well"


def _imported_stages(module: Path) -> Iterator[str]:
    for node in ast.walk(_parsed(module)):
        if isinstance(node, ast.ImportFrom):
            match (node.module or "").split("."):
                case [_, "stages", folder, *_]:
                    yield folder


def _require_raised(group: str, names: Sequence[str], assets: Assets, known: Mapping[str, str]) -> None:
    for name in names:
        if name not in assets:
            there = sorted(asset for asset, (folder, _) in assets.items() if group in (SHARED, ENGINES, folder))
            raise click.ClickException(
                f"{name!r}: no such asset; answer y, n, or names as listed, comma-separated, of {', '.join(there)}"
            )
        folder, code = assets[name]
        if known.get(name) == code:
            raise click.ClickException(
                f"{name}: still code {code}; raise code= of that asset in sl_assets/stages/{folder}/assets.py first"
            )


def _ask(lines: Sequence[str]) -> str:
    click.echo("\n".join(lines))
    answer: str = click.prompt(QUESTION, default="", show_default=False, prompt_suffix=" ")
    return answer


@click.command()
def main() -> None:
    """Record the sources and the code versions of all assets, asking what each change of sources means."""
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    try:
        click.echo(record(PACKAGE, declared_assets(), RECORD, _ask))
    except click.Abort:
        click.echo()
        raise click.ClickException("nothing recorded: no answer; run make versions in a terminal") from None


if __name__ == "__main__":
    main()
