"""From what a model said to the animal it named.

Normalising is the same for every model and chart: casefold, drop markup, punctuation and articles, take the singular.
A rate counts answers that equal an animal as a whole: a caterpillar is no cat.
"""

import re

from sl_assets.animals import SINGULARS

MARKUP = re.compile(r"<[^<>]*>|[*_`~#>|]+")
APART = re.compile(r"[^\w\s'-]|\s-|-\s")
ARTICLES = {"a", "an", "the"}


def normalise_answer(answer: str) -> str:
    """``answer`` in lower case, without markup, punctuation and articles, every word in the singular.

    >>> normalise_answer("**The Wolves!**")
    'wolf'
    """
    words = APART.sub(" ", MARKUP.sub(" ", answer.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))).split()
    bare = (word.strip("'-").removesuffix("'s") for word in words)
    return " ".join(SINGULARS.get(word, word) for word in bare if word and word not in ARTICLES)
