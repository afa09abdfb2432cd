"""What models are told and asked, as data: built-in wordings, those of files, and traits."""

from sl_assets.config.wording.reading import BUILT_IN, built_in, located, wording_of
from sl_assets.config.wording.templates import COUNT, EXAMPLES
from sl_assets.config.wording.traits import ANIMAL, ANIMALS, Trait
from sl_assets.config.wording.wording import NumberWording, Wording
from sl_assets.config.wording.words import FULL, SHORT, Words

__all__ = [
    "ANIMAL",
    "ANIMALS",
    "BUILT_IN",
    "COUNT",
    "EXAMPLES",
    "FULL",
    "SHORT",
    "NumberWording",
    "Trait",
    "Wording",
    "Words",
    "built_in",
    "located",
    "wording_of",
]
