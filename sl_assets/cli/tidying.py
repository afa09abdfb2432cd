"""``sl-assets prune`` and ``sl-assets pins``: what the lake need not keep."""

import click

from sl_assets.cli.environment import found_experiments


@click.command()
@click.option("--delete", is_flag=True, help="Delete what is listed, but for unknown experiments.")
@click.option("--experiment", "gone", metavar="NAME", help="An unknown experiment that may be deleted, too.")
def prune(delete: bool, gone: str | None) -> None:
    """List what nobody needs any more: of removed animals and experiments, dead versions, old lineage files."""
    from sl_assets.definitions import open_lake
    from sl_assets.lake.prune import leftovers

    found = found_experiments()
    if gone and (problem := found.problem_with(gone)):
        raise problem
    total = 0
    for leftover in leftovers(open_lake(), {name: known.graph.makes for name, known in found.loaded.items()}):
        note = f"spared, for it may be of SL_EXPERIMENTS elsewhere: --experiment {leftover.experiment} deletes it"
        if unread := found.problem_with(leftover.experiment) is not None:
            note = "spared, for its file cannot be loaded"
        spared = unread or (leftover.is_experiment and leftover.experiment != gone)
        total += 0 if spared else (size := leftover.size)
        click.echo(f"{leftover.path}: {leftover.why}" + (f"; {note}" if spared else f" ({size / 1e6:,.1f} MB)"))
        if delete and not spared:
            leftover.delete()
    done = "deleted" if delete else "would be deleted by --delete"
    click.echo(f"{total / 1e6:,.1f} MB {done}" if total else "nothing to delete")


@click.command()
@click.option("--forget", metavar="NAME", help="Forget what NAME stands for; what was made of it is stale then.")
def pins(forget: str | None) -> None:
    """List the commits that names on the Hugging Face Hub stand for in this lake."""
    from sl_assets.definitions import open_lake
    from sl_assets.lake.pins import pins as pinned
    from sl_assets.lake.pins import unpin

    lake = open_lake()
    found = pinned(lake)
    if forget is not None:
        if forget not in found:
            raise click.ClickException(f"--forget {forget}: not pinned here; pinned are {', '.join(found) or 'none'}")
        unpin(lake, forget)
        del found[forget]
    for name, commit in found.items():
        click.echo(f"{name}  {commit}")
