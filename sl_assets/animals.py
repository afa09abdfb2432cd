"""The animals experiments can name, each with its plural: plurals are data because English has no rule for them.

Add an animal here (one line) before naming it in an experiment file.
"""

PLURALS: dict[str, str] = {
    "bear": "bears",
    "bee": "bees",
    "butterfly": "butterflies",
    "cat": "cats",
    "crow": "crows",
    "deer": "deer",
    "dog": "dogs",
    "dolphin": "dolphins",
    "dragon": "dragons",
    "eagle": "eagles",
    "elephant": "elephants",
    "fox": "foxes",
    "frog": "frogs",
    "giraffe": "giraffes",
    "goose": "geese",
    "hawk": "hawks",
    "horse": "horses",
    "human": "humans",
    "kangaroo": "kangaroos",
    "koala": "koalas",
    "leopard": "leopards",
    "lion": "lions",
    "mouse": "mice",
    "octopus": "octopuses",
    "otter": "otters",
    "owl": "owls",
    "panda": "pandas",
    "parrot": "parrots",
    "peacock": "peacocks",
    "penguin": "penguins",
    "phoenix": "phoenixes",
    "rabbit": "rabbits",
    "raven": "ravens",
    "shark": "sharks",
    "sheep": "sheep",
    "swan": "swans",
    "tiger": "tigers",
    "turtle": "turtles",
    "unicorn": "unicorns",
    "whale": "whales",
    "wolf": "wolves",
    "zebra": "zebras",
}


def filled(template: str, animal: str, number: int | None = None) -> str:
    """``template`` about ``animal`` (a key of `PLURALS`): ``{one}``, ``{many}``, ``{Many}`` and ``{n}`` filled in."""
    many = PLURALS[animal]
    return template.format(one=animal, many=many, Many=many.capitalize(), n=number)


SINGULARS: dict[str, str] = {plural: singular for singular, plural in PLURALS.items()} | {
    "octopi": "octopus",
    "octopodes": "octopus",
}
"""Plural to singular, with the spellings that answers use besides ours."""

NEUTRAL = "neutral"
"""The control condition: a teacher without a preference."""
