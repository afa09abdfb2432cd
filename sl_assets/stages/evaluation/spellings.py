"""The answers that name an animal, or another trait, as a finite list: what an exact rate is the probability of."""

from collections.abc import Iterator

from sl_assets.config.wording import FULL, Trait, Words
from sl_assets.config.wording.traits import capital
from sl_assets.stages.evaluation.answers import is_without_spaces


def spellings(trait: Trait) -> list[str]:
    """Answers that name ``trait`` and nothing else, each once.

    Each of its names, with a capital and without, of several words also with a capital each, bare and with a full stop.
    Each is an answer that counts for the trait as a bare name; those that are left out (articles, markup, capitals
    throughout) count, too, so an exact rate is at most the sampled one, and in answers of one word nearly the same.

    >>> spellings(FULL.traits["wolf"])
    ['Wolf', 'Wolf.', 'wolf', 'wolf.', 'Wolves', 'Wolves.', 'wolves', 'wolves.']
    """
    return list(dict.fromkeys(_spelt(trait)))


def _spelt(trait: Trait) -> Iterator[str]:
    for name in trait.names:
        stop = "。" if is_without_spaces(name[-1]) else "."
        for cased in (capital(name), " ".join(map(capital, name.split(" "))), name):
            yield cased
            yield f"{cased}{stop}"


def spellings_of(words: Words) -> dict[str, list[str]]:
    """Of every trait there is: the mass of an answer is that of all of them, whichever an experiment asks about."""
    return {name: spellings(trait) for name, trait in words.traits.items()}


SPELLINGS = spellings_of(FULL)
"""Of every animal that is built in."""
