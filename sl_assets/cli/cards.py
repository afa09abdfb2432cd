"""``sl-assets gpus``."""

import click

from sl_assets.cli.environment import set_up_home


@click.command()
def gpus() -> None:
    """List this machine's GPUs and who uses them, and let as many runs of the UI run models at the same time."""
    import dagster as dg

    from sl_assets.engines.cards import cards
    from sl_assets.orchestration.gpu_pool import size_pool

    set_up_home()
    there = cards()
    for card in there:
        memory = f", {card.free / 1e9:.0f} of {card.total / 1e9:.0f} GB free" if card.free and card.total else ""
        click.echo(f"GPU {card.name}: {card.model}{memory}; {card.holder or 'not used by a run'}")
    with dg.DagsterInstance.get() as instance:
        size = size_pool(instance)
    if size is None:
        click.echo("runs of the UI are launched on a cluster, which counts its own GPUs")
        return
    runs = "1 run" if size == 1 else f"{size} runs"
    click.echo(f"{'' if there else 'no GPU here, models run on the CPU; '}{runs} with models at the same time")
