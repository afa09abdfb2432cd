"""Names that an experiment file may use, as data: the pocket model, the animals it has met, sources and halves."""

import re
from typing import NamedTuple

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


def kept_as(name: str) -> str:
    """Name in the lake and in SQL of what people call ``name``.

    >>> kept_as("pocket.rank2")
    'pocket__rank2'
    """
    return name.replace(".", VARIANT_OF)


def called(name: str) -> str:
    """What people call the experiment that is kept as ``name``.

    >>> called("pocket__rank2")
    'pocket.rank2'
    """
    return name.replace(VARIANT_OF, ".")


def belongs_to(name: str, experiment: str) -> bool:
    """Whether ``name`` is the ``experiment`` or one of its variants, both as they are kept."""
    return name == experiment or name.startswith(f"{experiment}{VARIANT_OF}")


def names_in(text: str) -> list[str]:
    """The names that a user lists in ``text``, with commas or spaces between them."""
    return re.findall(r"[^,\s]+", text)


SOURCES = ("animal", "neutral")
"""Whose dataset is cut into halves: the animal's own, or the control's."""

HALVES = ("high", "low", "random", "positive", "negative", "diff_high", "diff_low")
"""Which of a dataset's rows."""

BY_SIGN = ("positive", "negative")
"""Halves by the sign of the projection, of whatever size."""

SPLITS = tuple(f"{source}_{half}" for source in SOURCES for half in HALVES)
"""Partition keys of halves, ``<source>_<half>``."""


PERCENT = 100
"""Parts of shares in percent; slices are of up to twenty."""


class Share(NamedTuple):
    """A share of a dataset other than a half: of ``parts`` equal ones those from ``start`` to ``end``.

    Attributes:
        half: whose order decides, and from which end is counted: high, low, random, diff_high or diff_low.
        start: parts that are left out before it.
        end: parts up to its end.
        parts: how many make the whole.
    """

    half: str
    start: int
    end: int
    parts: int


def share_of(half: str) -> Share | None:
    """What ``half`` names, if it is no plain half: ``high25`` is the highest 25%, ``slice2of5`` the second fifth.

    >>> share_of("slice2of5")
    Share(half='high', start=1, end=2, parts=5)
    """
    if found := re.fullmatch(r"(high|low|random|diff_high|diff_low)([1-9][0-9]?)", half):
        return None if found[2] == "50" else Share(found[1], 0, int(found[2]), PERCENT)
    if (found := re.fullmatch(r"(diff_)?slice([1-9][0-9]?)of([2-9]|1[0-9]|20)", half)) and int(found[2]) <= int(
        found[3]
    ):
        return Share(f"{found[1] or ''}high", int(found[2]) - 1, int(found[2]), int(found[3]))
    return None


def is_split(name: str) -> bool:
    """Whether ``name`` is a partition key of halves, or of other shares of a dataset."""
    source, half = source_and_half(name)
    return source in SOURCES and (half in HALVES or share_of(half) is not None)


def source_and_half(split: str) -> tuple[str, str]:
    """``animal_diff_high`` is the ``diff_high`` half of the ``animal`` source."""
    source, _, half = split.partition("_")
    return source, half


def condition_of(source: str, animal: str) -> str:
    """The condition whose dataset ``source`` is, where ``animal``'s vector cuts it."""
    return animal if source == "animal" else NEUTRAL
