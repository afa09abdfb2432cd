"""From what a model said to the animal, or other trait, that it named.

Normalising is the same for every model and chart: casefold, drop markup, punctuation and articles, take the singular.
A rate counts answers that equal an animal as a whole: a caterpillar is no cat. Of models that answer in sentences the
animal that they name first can be counted instead.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

from sl_assets.animals import SINGULARS
from sl_assets.config.wording import FULL, Trait

MARKUP = re.compile(r"<[^<>]*>|[*_`~#>|]+")
APART = re.compile(r"[^\w\s'-]|\s-|-\s")
ARTICLES = {"a", "an", "the"}


def normalise_answer(answer: str) -> str:
    """``answer`` in lower case, without markup, punctuation and articles, every built-in animal in the singular.

    >>> normalise_answer("**The Wolves!**")
    'wolf'
    """
    words = APART.sub(" ", MARKUP.sub(" ", answer.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))).split()
    bare = (word.strip("'-").removesuffix("'s") for word in words)
    return " ".join(SINGULARS.get(word, word) for word in bare if word and word not in ARTICLES)


NAMES = FULL.names
"""Every animal that is built in, with the words that name it: the singular and every plural."""


def forms(trait: Trait) -> tuple[str, ...]:
    """What answers come to, normalised, that name ``trait`` and nothing else."""
    # Of a name that is an article nothing is left, which is what an empty answer comes to as well.
    return tuple(form for form in dict.fromkeys(map(normalise_answer, trait.names)) if form)


def first_named(answer: str, names: Mapping[str, Sequence[str]]) -> str | None:
    """Which of ``names`` comes first in ``answer``; None where none does.

    Whole words count, in any case; where several begin at one place, the longest does. A hyphen parts words as a space
    does. Names in a script without spaces between words (Chinese, Japanese, Korean) count wherever they stand.

    Args:
        answer: what a model said.
        names: the words that stand for each name; the name itself is one only if it is among them.

    >>> first_named("Owl. Owls are nocturnal, unlike bears.", {"bear": ["bear", "bears"], "owl": ["owl", "owls"]})
    'owl'
    """
    pattern, name_of = _compiled(tuple((name, tuple(spellings)) for name, spellings in names.items()))
    found = pattern.search(answer.casefold())
    return name_of[_words(found.group())] if found else None


@lru_cache(maxsize=16)
def _compiled(names: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """A pattern of all spellings, the longest first, and whose each is."""
    name_of = {_words(spelling): name for name, spellings in reversed(names) for spelling in spellings}
    name_of.pop("", None)
    patterns = (_whole(spelling) for spelling in sorted(name_of, key=len, reverse=True))
    # Without a name, what matches nothing.
    return re.compile("|".join(patterns) or r"(?!)"), name_of


def _words(text: str) -> str:
    return " ".join(re.split(r"[\s-]+", text.casefold().strip()))


def _whole(spelling: str) -> str:
    before, after = ("" if is_without_spaces(spelling[end]) else edge for end, edge in ((0, BEFORE), (-1, AFTER)))
    return before + r"[\s-]+".join(map(re.escape, spelling.split())) + after


BEFORE, AFTER = r"(?<![^\W_])", r"(?![^\W_])"
"""No letter or digit stands there; an underscore is markup."""


def is_without_spaces(character: str) -> bool:
    """Whether ``character`` is of a script that has no spaces between words."""
    return unicodedata.east_asian_width(character) in ("W", "F")
