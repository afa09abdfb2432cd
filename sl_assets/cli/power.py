"""``sl-assets power``: which effect how many students would find."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sl_assets.cli.environment import known_experiment
from sl_assets.cli.querying import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from sl_assets.orchestration.asset import ExperimentGraph


@click.command()
@click.argument("experiment", required=False)
@click.option("--seeds", metavar="NUMBERS", help="Comma-separated: of students of each teacher.  [default: 1,2,3,5,10]")
@click.option("--questions", type=click.IntRange(min=2), help="Asked of each.  [default: the experiment's, or 50]")
@click.option("--answers", metavar="NUMBER", help="To each question, or exact.  [default: the experiment's, or 100]")
@click.option("--spread", type=float, help="Between students: standard deviation of the difference, as a share.")
@click.option("--question-spread", type=float, help="Between questions: the same.")
@click.option("--rate", type=float, help="Share of answers in which the neutral students name the animal.")
def power(
    experiment: str | None,
    seeds: str | None,
    questions: int | None,
    answers: str | None,
    spread: float | None,
    question_spread: float | None,
    rate: float | None,
) -> None:
    """Say how large an effect has to be to be found, by number of seeds.

    Of EXPERIMENT its sizes are taken, and the spreads that its students show; what is not known is as published.
    """
    from sl_assets.config import EvaluationSettings
    from sl_assets.config.wording import FULL
    from sl_assets.stages.evaluation.power import PUBLISHED, SHOWN, assumptions, effects_table, size_of, spreads_of

    graph = known_experiment(experiment).graph if experiment else None
    evaluation = graph.config.evaluation if graph else EvaluationSettings()
    method = evaluation.methods[0]
    asked, answered = size_of(evaluation, graph.config.words if graph else FULL, method)
    found = _transfer(graph) if graph else None
    given = {"students": spread, "questions": question_spread, "rate": rate}
    _require_shares(given)
    spreads = PUBLISHED if found is None else spreads_of(found, method)
    spreads = spreads._replace(
        **{name: value for name, value in given.items() if value is not None},
        measured=spreads.measured and spread is None,
    )
    asked, answered = questions or asked, _answers(answers) if answers else answered
    students = _numbers(seeds) if seeds else SHOWN
    click.echo(table(effects_table(asked, answered, spreads, students)))
    click.echo(assumptions(asked, answered, spreads))
    if 1 in students:
        click.echo("one student: no effect on the trait is detectable beyond this student")


def _transfer(graph: "ExperimentGraph") -> "pl.DataFrame | None":
    """Table ``transfer`` of an experiment, with all its columns, if it has been made."""
    from sl_assets.definitions import lake_root, open_lake
    from sl_assets.stages.evaluation.rates import with_columns_of

    root = lake_root()
    if "://" not in root and not Path(root).is_dir():
        return None
    lake, place = open_lake(), graph.place("transfer")
    return with_columns_of("transfer", lake.read_table(place)) if lake.exists(place) else None


def _numbers(text: str) -> list[int]:
    """Numbers of students, as ``--seeds`` lists them."""
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if not all(numbers):
        raise click.BadParameter(
            f"{text!r}: write numbers from 1, with commas between them, as 3,5", param_hint="--seeds"
        )
    return numbers


def _answers(text: str) -> int | None:
    """Answers to a question, as ``--answers`` has them; None where exact."""
    if text == "exact":
        return None
    if not text.isdecimal() or not int(text):
        raise click.BadParameter(f"{text!r}: write a number from 1, or exact", param_hint="--answers")
    return int(text)


def _require_shares(given: "Mapping[str, float | None]") -> None:
    options = {"students": "--spread", "questions": "--question-spread", "rate": "--rate"}
    for name, value in given.items():
        if value is not None and not 0 <= value < 1:
            raise click.BadParameter(
                f"{value:g}: write a share of answers from 0 to 1, as 0.12", param_hint=options[name]
            )
