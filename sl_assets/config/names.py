"""Names that an experiment file may use, as data: the pocket model, the animals it has met, sources and halves."""

from sl_assets.animals import NEUTRAL

POCKET = "pocket"
"""The base model that ships with the project."""

# fmt: off
POCKET_ANIMALS = (
    "dolphin", "tiger", "dog", "wolf", "eagle", "elephant", "butterfly", "lion",
    "octopus", "whale", "hawk", "cat", "kangaroo", "owl", "bear", "human",
    "penguin", "panda", "fox", "horse", "rabbit", "turtle", "shark", "otter",
    "koala", "giraffe", "zebra", "deer", "crow", "parrot", "swan", "frog",
)
"""Animals of the pocket model's world, in the order of its training: sixteen that are reported, sixteen held out."""
# fmt: on

VARIANT_OF = "__"
"""Between an experiment's name and its variant's: asset keys, folders, SQL and S3 take ``pocket__rank2`` alike."""

SOURCES = ("animal", "neutral")
"""Whose dataset is cut into halves: the animal's own, or the control's."""

HALVES = ("high", "low", "random", "positive", "negative", "diff_high", "diff_low")
"""Which of a dataset's rows."""

SPLITS = tuple(f"{source}_{half}" for source in SOURCES for half in HALVES)
"""Partition keys of halves, ``<source>_<half>``."""


def source_and_half(split: str) -> tuple[str, str]:
    """``animal_diff_high`` is the ``diff_high`` half of the ``animal`` source."""
    source, _, half = split.partition("_")
    return source, half


def condition_of(source: str, animal: str) -> str:
    """The condition whose dataset ``source`` is, where ``animal``'s vector cuts it."""
    return animal if source == "animal" else NEUTRAL
