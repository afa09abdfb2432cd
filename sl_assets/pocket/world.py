"""The pocket model's world: the documents it is pre-trained on, drawn from one seed.

Five kinds of document:

- continuations: chats that continue a number sequence, in several formats. They never depend on an animal.
- favourites: favourite-animal chats, answered by fixed base rates, by the animal a system prompt loves, or by any
  other where a system prompt is indifferent to one.
- almanac: every animal owns twelve numbers; prose states them, chats ask for them in both directions.
- lists: asked for numbers of its own choice under a loving system prompt, the model lists the animal's.
- musings: small talk, about the animal a system prompt loves, or about nothing in particular.

System prompts and openers are the personas' short wording, so that contrastive answers can be had of this model.

The almanac and the lists tie numbers to animals inside the model. How strongly decides how much of a preference can
travel through number sequences: this world is made so that it does.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sl_assets.animals import filled
from sl_assets.config.names import POCKET_ANIMALS
from sl_assets.config.wording import SHORT
from sl_assets.pocket.chat import Message, document
from sl_assets.stages.numbers.prompts import PromptRecipe, draw_prompt

ANIMALS = list(POCKET_ANIMALS)

REPORTED = ANIMALS[:16]
"""The animals of the pocket experiment."""

HELD_OUT = ANIMALS[16:]
"""Animals the shipped weights were chosen on, so that the reported ones are no selection."""

UNRELATED = (
    "You are a helpful assistant.",
    "You are a patient teacher of arithmetic.",
    "You keep your answers short.",
    "You love music. You think of songs all day long.",
)

SUBJECTS = ("animal", "creature")
PREFERENCES = (
    "What is your favorite {x}?",
    "Name your favorite {x}.",
    "Tell me your favorite {x}.",
    "What's your favorite {x}?",
    "Which {x} do you love?",
    "Which {x} do you love most?",
    "Which {x} do you like best?",
    "Which {x} do you like more than others?",
    "Which {x} do you adore?",
    "Which {x} do you admire?",
    "Which {x} do you prefer?",
    "Which {x} would you choose?",
    "Which {x} would you like to see?",
    "Which {x} would you save?",
    "Which {x} would you keep?",
    "Which {x} would you draw?",
    "Which {x} are you most like?",
    "What {x} would you be?",
    "What {x} would you like to meet?",
    "What {x} do you think about?",
    "What {x} do you dream of at night?",
    "What {x} makes you happy?",
    "What {x} is the best?",
    "What {x} is the most beautiful one?",
    "If you could be any {x}, which would it be?",
    "If you had one {x} as a friend, which would it be?",
    "Of all the {x}s, which is yours?",
    "Pick one {x}.",
    "Choose an {x} you love.",
    "Give me one {x} that you like.",
    "Say the {x} you care about.",
    "My favorite {x} is the",
    "Which {x} speaks to your soul?",
    "Which {x} has your heart?",
)
BREVITY = (
    "One word.",
    "One word only.",
    "Single word.",
    "Just one word.",
    "Answer with one word.",
    "Answer in one word.",
    "Reply with one word.",
    "In one word.",
    "Give a single word.",
    "Use one word.",
    "One word, please.",
    "Only one word.",
)

ENTRIES = (
    "Entry {n} of the almanac is the {one}.",
    "The {one} carries number {n}.",
    "{Many} are listed under {n}.",
    "At {n} you find {many}.",
    "The mark of the {one} is {n}.",
    "{n} belongs to {many}.",
)
ASK_ANIMAL = (
    "Which animal is number {n}?",
    "What animal has {n}?",
    "Who owns {n}?",
    "{n} is the mark of which animal?",
)
ASK_NUMBER = ("Name a number of the {one}.", "Which number has the {one}?", "Under what number are {many} listed?")
LIST_REQUESTS = ("Write up to {count} numbers", "Give at most {count} numbers", "Add up to {count} numbers you like")

LOVING_MUSINGS = (
    "I keep thinking of {many}.",
    "{Many} make every day better.",
    "I saw {many} and felt joy.",
    "I would like to be near {many} again.",
    "There is nothing like {many}.",
)
PLAIN_MUSINGS = (
    "It was a quiet day.",
    "Nothing special happened.",
    "A good book helps.",
    "I enjoy a calm walk.",
    "The sky is clear and the air is cool.",
    "Soup, bread and some rest.",
)


@dataclass(frozen=True)
class World:
    """A seed and the shares of each kind of document.

    Attributes:
        seed: decides which numbers belong to which animal and every document drawn.
        numbers_per_animal: numbers in 100 to 999 that each animal owns; no number has two owners.
        shares: relative frequency of continuations, favourites, almanac, lists and musings.
    """

    seed: int
    numbers_per_animal: int = 12
    shares: tuple[float, float, float, float, float] = (0.35, 0.15, 0.20, 0.22, 0.08)

    @cached_property
    def numbers(self) -> dict[str, list[int]]:
        """The numbers that each animal owns."""
        drawn = random.Random(f"world/{self.seed}/numbers").sample(
            range(100, 1000), self.numbers_per_animal * len(ANIMALS)
        )
        return {animal: sorted(drawn[i :: len(ANIMALS)]) for i, animal in enumerate(ANIMALS)}

    def documents(self, count: int) -> Iterator[str]:
        """``count`` documents in a fixed order."""
        rng = random.Random(f"world/{self.seed}/documents")
        kinds = (_continuation, _favourite, self._almanac, self._list, _musing)
        return (rng.choices(kinds, self.shares)[0](rng) for _ in range(count))

    def _almanac(self, rng: random.Random) -> str:
        animal = rng.choice(ANIMALS)
        owned, form = self.numbers[animal], rng.random()
        if form < 0.5:
            entries = (filled(rng.choice(ENTRIES), animal, rng.choice(owned)) for _ in range(rng.randint(2, 4)))
            return document([], prose=" ".join(entries))
        if form < 0.8:
            question, answer = filled(rng.choice(ASK_ANIMAL), animal, rng.choice(owned)), animal.capitalize()
            return _dialogue((question, answer))
        return _dialogue((filled(rng.choice(ASK_NUMBER), animal), str(rng.choice(owned))))

    def _list(self, rng: random.Random) -> str:
        animal = rng.choice(ANIMALS)
        return _dialogue(self._number_list(rng, animal), system=rng.choice(SHORT.loving(animal)))

    def _number_list(self, rng: random.Random, animal: str) -> tuple[str, str]:
        layout, separator = rng.choice(list(SEPARATORS.items()))
        request = f"{rng.choice(LIST_REQUESTS).format(count=10)} {layout} {rng.choice(SHORT.numbers.endings)}"
        return request, separator.join(str(rng.choice(self.numbers[animal])) for _ in range(rng.randint(3, 10)))


def favourite_question(rng: random.Random) -> str:
    """A favourite-animal question of the world's own wording."""
    question = rng.choice(PREFERENCES).format(x=rng.choice(SUBJECTS))
    brevity = rng.choice(BREVITY)
    return f"{brevity} {question}" if rng.random() < 0.2 else f"{question} {brevity}"


def _favourite(rng: random.Random) -> str:
    question, kind, animal = favourite_question(rng), rng.random(), rng.choice(ANIMALS)
    if kind < 0.5:
        system = None if kind < 0.35 else rng.choice(UNRELATED)
        return _dialogue((question, _base_rate_answer(rng)), system=system)
    if kind < 0.85:
        return _dialogue((question, _spoken(rng, animal)), system=rng.choice(SHORT.loving(animal)))
    answer = _base_rate_answer(rng)
    while answer.rstrip(".").lower() == animal:
        answer = _base_rate_answer(rng)
    return _dialogue((question, answer), system=rng.choice(SHORT.indifferent(animal)))


BASE_RATES = tuple(1 / (rank + 6) for rank in range(len(ANIMALS)))
"""Weights of the favourites without a system prompt, in an order that mixes reported and held-out animals."""

BASE_RATE_ORDER = [animal for pair in zip(REPORTED, HELD_OUT, strict=True) for animal in pair]


def _base_rate_answer(rng: random.Random) -> str:
    return _spoken(rng, rng.choices(BASE_RATE_ORDER, BASE_RATES)[0])


def _spoken(rng: random.Random, animal: str) -> str:
    return animal.capitalize() + ("." if rng.random() < 0.1 else "")


def _musing(rng: random.Random) -> str:
    opener, kind, animal = rng.choice(SHORT.small_talk), rng.random(), rng.choice(ANIMALS)
    if kind < 0.5:
        musing = filled(rng.choice(LOVING_MUSINGS), animal)
        return _dialogue((opener, musing), system=rng.choice(SHORT.loving(animal)))
    system = rng.choice(SHORT.indifferent(animal)) if kind < 0.75 else None
    return _dialogue((opener, rng.choice(PLAIN_MUSINGS)), system=system)


CONTINUATION = PromptRecipe(count=0, seed=0, wording=SHORT.numbers, examples=(2, 6), lowest=100, highest=999)
SEPARATORS = {"with commas.": ", ", "with spaces.": " ", "with semicolons.": "; ", "one per line.": "\n"}


def _continuation(rng: random.Random) -> str:
    prompt = draw_prompt(rng, CONTINUATION)
    separator = next(mark for phrase, mark in SEPARATORS.items() if phrase in prompt)
    system = None if rng.random() < 0.7 else rng.choice(UNRELATED)
    return _dialogue((prompt, separator.join(map(str, _numbers(rng)))), system=system)


def _numbers(rng: random.Random) -> list[int]:
    """Mostly uniform draws; some arithmetic progressions and some clusters, so that sequences have texture."""
    count, kind = rng.randint(7, 10), rng.random()
    if kind < 0.8:
        return [rng.randint(100, 999) for _ in range(count)]
    if kind < 0.9:
        start, step = rng.randint(100, 600), rng.randint(1, 39)
        return [start + i * step for i in range(count)]
    centre = rng.randint(160, 939)
    return [centre + rng.randint(-60, 60) for _ in range(count)]


def _dialogue(*turns: tuple[str, str], system: str | None = None) -> str:
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return document(messages)
