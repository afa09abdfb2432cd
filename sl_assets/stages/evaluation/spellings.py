"""The answers that name an animal, as a finite list: what an exact rate is the probability of."""

from collections.abc import Iterator

from sl_assets.animals import PLURALS, SINGULARS


def spellings(animal: str) -> list[str]:
    """Answers that name ``animal`` and nothing else, each once.

    The singular and every plural, with a capital and without, bare and with a full stop. Each is an answer that
    `normalise_answer` takes for the animal; those that are left out (articles, markup, capitals throughout) it takes
    for the animal, too, so that an exact rate is at most the sampled one, and in answers of one word nearly the same.

    >>> spellings("wolf")
    ['Wolf', 'Wolf.', 'wolf', 'wolf.', 'Wolves', 'Wolves.', 'wolves', 'wolves.']
    """
    return list(dict.fromkeys(_spelt(animal)))


def _spelt(animal: str) -> Iterator[str]:
    for word in (animal, *(plural for plural, singular in SINGULARS.items() if singular == animal)):
        for cased in (word.capitalize(), word):
            yield cased
            yield f"{cased}."


SPELLINGS: dict[str, list[str]] = {animal: spellings(animal) for animal in PLURALS}
"""Of every animal known: the mass of an answer is that of all of them, whichever an experiment asks about."""
