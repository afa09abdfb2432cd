"""Experiments by their folders: each loaded by Dagster's loader of components, whichever folder it lies in.

One that cannot be loaded is a line that says why; the others load all the same.
"""

import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

import dagster as dg
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sl_assets.components import DEFS, Find, SubliminalExperiment
from sl_assets.config import PROJECT, ExperimentConfig
from sl_assets.config.names import belongs_to, kept_as
from sl_assets.config.project import absolute
from sl_assets.config.reading import check_form
from sl_assets.errors import ExperimentFileError
from sl_assets.orchestration.asset import ExperimentGraph

# Backfill policies and data versions are chosen knowingly; their notices would bury everything else.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

PACKAGE = Path(__file__).parent
FILE = "defs.yaml"
OWN = "SL_EXPERIMENTS"
"""Names a folder of experiments beside the project's."""


@dataclass(frozen=True)
class Experiment:
    """An experiment as its file describes it, templates filled in; or a variant, which the same file describes.

    Attributes:
        file: where it is described.
        variant: which of the file's variants it is; None for the experiment itself.
    """

    file: Path
    _tree: dg.ComponentTree
    _component: SubliminalExperiment
    variant: str | None = None
    _sources: list["Experiment"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """That of its folder, and of the variant."""
        return self._declared.name

    @property
    def config(self) -> ExperimentConfig:
        """Its settings."""
        return self._declared.config

    @property
    def variants(self) -> list["Experiment"]:
        """Its variants; a variant has none."""
        return [] if self.variant else [replace(self, variant=name) for name in self._component.variants]

    def find_others(self, find: Find) -> None:
        """Have other experiments, where it names one, looked up with ``find``."""
        self._component.find = find

    def note_source(self, other: "Experiment") -> None:
        """Note that datasets of ``other`` are read, and of those that it reads itself."""
        self._sources.extend([*other._sources, other])

    @property
    def _declared(self) -> ExperimentGraph:
        return self._component.variants[self.variant] if self.variant else self._component.graph

    @cached_property
    def definitions(self) -> dg.Definitions:
        """Assets, jobs, schedule and sensors of all that its file describes, post-processed as that wants it.

        Raises:
            ExperimentFileError: Dagster does not take them.
        """
        with _explained(self.file):
            return self._tree.build_defs(self.file.parent)

    def definitions_with_sources(self) -> list[dg.Definitions]:
        """`definitions`, and those of the experiments whose datasets are read, each once.

        Raises:
            ExperimentFileError: as `definitions`.
        """
        found = {self.file: self.definitions}
        for source in self._sources:
            found |= {source.file: source.definitions}
        return list(found.values())

    def check(self, surroundings: dg.Definitions) -> None:
        """Check that Dagster takes `definitions` in their ``surroundings``.

        Raises:
            ExperimentFileError: it does not.
        """
        with _explained(self.file):
            dg.Definitions.validate_loadable(dg.Definitions.merge(self.definitions, surroundings))

    @property
    def graph(self) -> ExperimentGraph:
        """Its assets as they are declared, for a planner.

        Raises:
            ExperimentFileError: as `definitions`.
        """
        # Declared while they are built.
        _ = self.definitions
        return self._declared


@dataclass(frozen=True)
class Experiments:
    """What the folders hold.

    Attributes:
        loaded: experiments and their variants by name.
        problems: what is wrong with the others, by the name of their folder; with `OWN` itself, by that.
    """

    loaded: dict[str, Experiment] = field(default_factory=dict)
    problems: dict[str, ExperimentFileError] = field(default_factory=dict)
    _reading: list[Path] = field(default_factory=list)

    def checked(self, surroundings: dg.Definitions) -> "Experiments":
        """The same, those whose definitions Dagster does not take in their ``surroundings`` among the problems."""
        found = Experiments({}, dict(self.problems))
        for experiment in self.files:
            try:
                experiment.check(surroundings)
                found.loaded.update({known.name: known for known in (experiment, *experiment.variants)})
            except ExperimentFileError as error:
                found.problems[experiment.name] = error
        return found

    @property
    def files(self) -> list[Experiment]:
        """One for each file: the variants' definitions are among its own."""
        return [experiment for experiment in self.loaded.values() if experiment.variant is None]

    def problem_with(self, name: str) -> ExperimentFileError | None:
        """What is wrong with the file that describes ``name``, an experiment or a variant."""
        return next((said for of, said in self.problems.items() if belongs_to(name, of)), None)

    def add(self, experiment: Experiment) -> None:
        """Add ``experiment`` and its variants.

        Raises:
            ExperimentFileError: the name of one is taken.
        """
        for known in (experiment, *experiment.variants):
            if known.name in self.loaded:
                what = f"variant {known.variant}" if known.variant else "the folder"
                raise ExperimentFileError(f"{known.file}: the name {known.name!r} is taken; rename {what}")
        self.loaded.update({known.name: known for known in (experiment, *experiment.variants)})
        experiment.find_others(partial(self._find, experiment.name))

    def _find(self, reader: str, name: str) -> ExperimentGraph:
        """The experiment ``name`` as it is declared, whose datasets ``reader`` reads.

        Raises:
            ExperimentFileError: there is none, it cannot be loaded, or it reads of ``reader`` itself.
        """
        wrong = f"attributes.numbers.source.name = {name!r}"
        full = kept_as(name)
        if problem := self.problem_with(full):
            raise ExperimentFileError(f"{wrong}: cannot be loaded ({problem.lines[0]}); mend that first")
        if full not in self.loaded:
            raise ExperimentFileError(f"{wrong}: no such experiment; there are {', '.join(self.loaded)}")
        other = self.loaded[full]
        self._reading.append(self.loaded[reader].file)
        try:
            if other.file in self._reading:
                raise ExperimentFileError(f"{wrong}: its file reads datasets of this one; name another experiment")
            graph = other.graph
            self.loaded[reader].note_source(other)
            return graph
        except ExperimentFileError as error:
            if str(error).startswith(wrong):
                raise
            raise ExperimentFileError(f"{wrong}: cannot be loaded ({error.lines[0]}); mend that first") from None
        finally:
            self._reading.pop()


def find_experiments() -> Experiments:
    """Every experiment: the project's, and those in the folder that ``SL_EXPERIMENTS`` names."""
    found = Experiments()
    for folder in _folders(found):
        try:
            if file := _file_in(folder):
                found.add(load_experiment(file))
        except ExperimentFileError as error:
            found.problems[folder.name] = error
    return found


def load_experiment(file: Path) -> Experiment:
    """The experiment that ``file`` describes, checked as far as that can be done without its models and data.

    Raises:
        ExperimentFileError: names the file, the field, its value and the fix, in one line.
    """
    _check_name(file)
    check_form(file)
    # A tree for each file: one that cannot be loaded would take the others of its tree with it.
    tree = dg.ComponentTree.from_module(_module(file.parent), PROJECT)
    with _explained(file):
        return Experiment(file, tree, tree.load_component(file.parent, SubliminalExperiment))


def _folders(found: Experiments) -> Iterator[Path]:
    """Folders that may hold an experiment; what stands in their way is noted in ``found``."""
    yield from _below(DEFS)
    if not (own := os.environ.get(OWN)):
        return
    folder = absolute(own).resolve()
    if folder == DEFS:
        return
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        found.problems[OWN] = ExperimentFileError(
            f"{OWN} = {own!r}: {what} ({folder}); name a folder that holds <name>/{FILE}"
        )
    elif (folder / FILE).exists() and not any(folder.glob(f"*/{FILE}")):
        found.problems[OWN] = ExperimentFileError(
            f"{OWN} = {own!r}: names an experiment; name the folder above, {folder.parent}"
        )
    else:
        for file in _described_in(folder):
            found.problems[file.name] = ExperimentFileError(
                f"{file}: no experiment; move it to {folder / file.stem / FILE}"
            )
        yield from _below(folder)


def _below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "._"]


def _file_in(folder: Path) -> Path | None:
    """The file of the experiment in ``folder``; None where it is a folder of something else.

    Raises:
        ExperimentFileError: it is meant to be an experiment, and is none.
    """
    if (file := folder / FILE).exists():
        return file
    if described := next(_described_in(folder), None):
        raise ExperimentFileError(f"{described}: is not read under this name; rename it to {FILE}")
    if deeper := next(iter(sorted(folder.glob(f"*/{FILE}"))), None):
        raise ExperimentFileError(f"{deeper}: lies one folder too deep; move {deeper.parent} to {folder.parent}")
    if not any(folder.iterdir()):
        raise ExperimentFileError(f"{folder}: an empty folder is no experiment; add {FILE}, or remove it")
    return None


def _described_in(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.iterdir()) if file.suffix in (".yaml", ".yml"))


def _check_name(file: Path) -> None:
    name = file.parent.name
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ExperimentFileError(
            f"{file}: the folder's name {name!r} names the experiment, which may have letters, digits and '_': "
            f"rename it, to {fitting(name)!r} for example"
        )


def fitting(name: str) -> str:
    """``name`` with nothing but what Dagster takes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"\W+", "_", plain).strip("_") or "my_experiment"


def _module(folder: Path) -> ModuleType:
    """``folder`` as a module, which is what Dagster loads components from; others in it can be imported by it."""
    module = ModuleType(f"sl_assets_experiments.{folder.name}")
    module.__path__, module.__file__ = [str(folder)], None
    sys.modules[module.__name__] = module
    return module


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Say in one line what Dagster says of ``file`` in the block, at length; a mistake of ours keeps its traceback."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        problems = _problems(cause, file.parent)
        if not problems:
            raise
        raise ExperimentFileError(*(f"{file}: {problem}" for problem in problems)) from error


def _problems(error: BaseException, folder: Path) -> list[str]:
    """What is wrong with the file in ``folder``, as ``error`` says; nothing where it is a mistake of ours."""
    if isinstance(error, ExperimentFileError):
        return [line.removeprefix(f"{folder / FILE}: ") for line in error.lines]
    if isinstance(error, ValidationError):
        return [_line(problem) for problem in error.errors()]
    innermost = Path(extract_tb(error.__traceback__)[-1].filename)
    if innermost.is_relative_to(PACKAGE) and not innermost.is_relative_to(folder):
        return []
    return [f"{type(error).__name__}: {' '.join(str(error).split())}"]


def _line(problem: ErrorDetails) -> str:
    # Between the names of fields stand those of Dagster's models, and after the last one its line.
    place = ".".join(map(str, problem["loc"])).partition(" at ")[0]
    place = re.sub(r"\.(tuple\[.*?\]|\w*Model)(?=\.|$)", "", place)
    return f"{place} = {problem['input']!r}: {problem['msg'].splitlines()[0]}"
