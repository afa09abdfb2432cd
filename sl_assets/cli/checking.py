"""``sl-assets check``, and what is looked at before anything is run."""

from collections import Counter
from typing import TYPE_CHECKING

import click

from sl_assets.cli.explaining import explained
from sl_assets.config import JsonlSource
from sl_assets.config.names import POCKET

if TYPE_CHECKING:
    from sl_assets.config import ExperimentConfig
    from sl_assets.engines.templates import Rendering
    from sl_assets.orchestration.asset import ExperimentGraph

FIRST_ROWS = 100
"""Of a file to import; the rest is read when it is imported."""


@click.command()
@click.option("--explain", is_flag=True, help="Print all settings instead, or one, with their defaults.")
@click.argument("names", nargs=-1, metavar="[EXPERIMENT] [SETTING]")
def check(explain: bool, names: tuple[str, ...]) -> None:
    """Check every experiment file, and the files that it names.

    With --explain, print what can be set: of EXPERIMENT, if one is named, its values and what they decide; of one
    SETTING, as student.rank, what is known of it.
    """
    from sl_assets.definitions import surroundings
    from sl_assets.engines.transformers.gguf import not_installed
    from sl_assets.experiments import find_experiments

    if explain:
        for line in explained(names, find_experiments()):
            click.echo(line)
        return
    if names:
        raise click.UsageError(f"{names[0]}: check looks at every experiment; add --explain, or leave it out")
    found = find_experiments().checked(surroundings())
    problems = [line for problem in found.problems.values() for line in problem.lines]
    for name, experiment in found.loaded.items():
        config = experiment.config
        if wrong := file_problems(config):
            problems += [f"{experiment.file}: {problem}" for problem in wrong]
        else:
            kind = config.words.kind
            loved = f"{len(config.animals)} {kind.name if len(config.animals) == 1 else kind.plural}"
            line = f"{name}: {config.base_model}, {loved}, {config.teacher.kind} teachers"
            click.echo(line + shared_assets(experiment.graph))
            if missing := not_installed(config.base_model):
                click.echo(f"{name} cannot run here: {missing}")
    for problem in problems:
        click.echo(f"sl-assets: {problem}", err=True)
    if problems:
        raise SystemExit(1)


def shared_assets(graph: "ExperimentGraph") -> str:
    """How many of its assets an experiment shares, and with which; empty where all are its own."""
    owners = Counter(graph.elsewhere.values())
    shares = "".join(f", {count} are those of {owner}" for owner, count in sorted(owners.items()))
    return f"; {len(graph.assets)} assets{shares}" if shares else ""


def require_files(experiment: str, config: "ExperimentConfig") -> None:
    """Stop before anything is run where a file that ``experiment`` names is missing or wrong."""
    from sl_assets.engines.transformers.gguf import not_installed

    missing = not_installed(config.base_model)
    if problems := [*([missing] if missing else []), *file_problems(config)]:
        more = f" (and {len(problems) - 1} more, which sl-assets check lists)" if len(problems) > 1 else ""
        raise click.ClickException(f"{experiment}: {problems[0]}{more}")


def file_problems(config: "ExperimentConfig") -> list[str]:
    """What is wrong with the model and with the rows to import, as far as files here say, a line each.

    A file of an experiment is none the worse for a package that is not installed beside it.
    """
    return [*_model_problems(config), *_row_problems(config)]


def _model_problems(config: "ExperimentConfig") -> list[str]:
    from sl_assets.config.section import is_gguf
    from sl_assets.engines.choose import rendering_of
    from sl_assets.engines.transformers.gguf import missing_file
    from sl_assets.engines.transformers.models import check_layers, local_folder
    from sl_assets.errors import ExperimentFileError

    if is_gguf(config.base_model):
        return [problem] if (problem := missing_file(config.base_model)) else []
    folder = local_folder(config.base_model)
    if folder is None and "/" not in config.base_model and config.sampler.engine != "openai":
        return [
            f"attributes.base_model = {config.base_model!r}: no such folder, and models of the Hub are owner/name; "
            f"the one that ships is {POCKET}"
        ]
    if folder and not (folder / "config.json").is_file():
        return [f"attributes.base_model = {config.base_model!r}: {folder} holds no model"]
    try:
        check_layers(config, config.base_model)
    except ExperimentFileError as error:
        return [str(error)]
    own = [] if config.sampler.engine == "openai" else _template_problems(rendering_of(config))
    return [*own, *_judge_problems(config)]


def _judge_problems(config: "ExperimentConfig") -> list[str]:
    from sl_assets.engines.choose import judge_rendering

    judge = config.judge
    return _template_problems(judge_rendering(judge)) if judge and judge.engine != "openai" else []


MAY_REFUSE = ("strftime_now", "raise_exception")
"""Functions of templates without which there is no date, and no role that is refused."""


def _template_problems(rendering: "Rendering") -> list[str]:
    """What a chat template would refuse, or does not read, where the model's files are here."""
    from sl_assets.engines.templates import check_variables, template_in
    from sl_assets.engines.transformers.models import local_folder
    from sl_assets.errors import SlAssetsError

    folder = local_folder(rendering.base_model)
    template = template_in(folder) if folder else None
    try:
        if template:
            check_variables(template, rendering.variables, f"base_model {rendering.base_model!r}")
        # To render takes transformers, which takes seconds to import.
        if template and any(name in template for name in MAY_REFUSE):
            from sl_assets.engines.transformers.modules import tokenizer_of

            rendering.check(tokenizer_of(rendering.base_model))
    except SlAssetsError as error:
        return [str(error)]
    return []


def _row_problems(config: "ExperimentConfig") -> list[str]:
    from sl_assets.errors import DatasetError
    from sl_assets.stages.numbers.sources import read_rows, system_prompts

    source = config.numbers.source
    if not isinstance(source, JsonlSource):
        return []
    problems: list[str] = []
    for file in map(source.file, config.conditions):
        if not file.exists():
            problems.append(f"{file}: no such file; numbers.source.path needs one a condition, neutral included")
            continue
        try:
            system_prompts(read_rows(file, source.fields, FIRST_ROWS), config.student.system_prompt)
        except DatasetError as error:
            # Of what belongs to no row the message does not know the file.
            problems.append(str(error) if str(file) in str(error) else f"{file}: {error}")
    return problems
