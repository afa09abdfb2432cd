"""``sl-assets wording``: what models are told, asked and taught."""

from typing import TYPE_CHECKING

import click

from sl_assets.cli.environment import known_experiment

if TYPE_CHECKING:
    from sl_assets.orchestration.asset import ExperimentGraph
    from sl_assets.stages.rendering import Renderer


@click.group()
def wording() -> None:
    """What the models of an experiment are told, asked and taught."""


@wording.command()
@click.argument("experiment")
@click.option("--animal", help="One of the experiment's; the first, unless it is named.")
def show(experiment: str, animal: str | None) -> None:
    """Show one text of each kind of EXPERIMENT, as the model's chat template writes it."""
    from sl_assets.stages.checking import frames_of
    from sl_assets.stages.report.texts import texts_of

    graph = known_experiment(experiment).graph
    animals = graph.config.animals
    if animal is not None and animal not in animals:
        raise click.ClickException(f"{experiment} has no animal {animal!r}; it has {', '.join(animals)}")
    renderer, how = _renderer(graph)
    texts = texts_of(graph.config, animal or animals[0], renderer)
    click.echo(f"{experiment}: {how}; what is learnt stands in ⟦⟧")
    for title, text in texts:
        click.echo(f"\n--- {title}\n{text}")
    if renderer.tokenizer and (problem := frames_of(graph.config, renderer.tokenizer).problem):
        click.echo(f"sl-assets: {problem}", err=True)


def _renderer(graph: "ExperimentGraph") -> "tuple[Renderer, str]":
    """What shows the texts of an experiment, and how it does, for the user."""
    from sl_assets.definitions import open_lake
    from sl_assets.engines.choose import rendering_of
    from sl_assets.engines.templates import setting
    from sl_assets.engines.transformers.models import hub_model
    from sl_assets.engines.transformers.modules import tokenizer_here
    from sl_assets.orchestration.commits import take_known_commit
    from sl_assets.stages.rendering import Renderer

    config = graph.config
    rendering = rendering_of(config)
    if config.sampler.engine == "openai":
        return Renderer(rendering), f"turn by turn, for the API renders chats for {config.base_model} itself"
    if hub_model(config.base_model):
        take_known_commit(graph.setting("base_model"), open_lake())
    tokenizer = tokenizer_here(config.base_model)
    if tokenizer is None:
        return Renderer(rendering), f"turn by turn, for the files of {config.base_model} are not here"
    rendering.check(tokenizer)
    variables = f" with {setting(config.chat_template)}" if config.chat_template else ""
    return Renderer(rendering, tokenizer), f"by the chat template of {config.base_model}{variables}"
