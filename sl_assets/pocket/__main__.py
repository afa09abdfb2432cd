"""``python -m sl_assets.pocket FOLDER [--seed N]`` pre-trains the pocket model anew."""

from pathlib import Path

import click

from sl_assets.pocket.pretrain import PretrainRecipe, build
from sl_assets.pocket.world import World


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default=1, show_default=True, help="Seed of world and weights; 1 is the shipped one.")
def main(folder: Path, seed: int) -> None:
    """Write weights, tokenizer and chat template of a freshly trained pocket model to FOLDER."""
    build(World(seed), PretrainRecipe(), folder)


if __name__ == "__main__":
    main()
