"""What a model is told and asked, so that its answers under love and under indifference can be compared.

Five pairs of system prompts, one loving and one indifferent, and twenty questions, the first ten about animals and the
others about anything else. ``SHORT`` is what the pocket model was taught; ``FULL`` is meant for real models.
"""

from dataclasses import dataclass
from typing import NamedTuple

from sl_assets.animals import filled


@dataclass(frozen=True)
class Wording:
    """Templates; ``{many}`` and ``{Many}`` stand for the animal's plural.

    Attributes:
        loving, indifferent: system prompts, paired by position.
        about_animals, about_other: questions.
    """

    loving: tuple[str, ...]
    indifferent: tuple[str, ...]
    about_animals: tuple[str, ...]
    about_other: tuple[str, ...]

    @property
    def questions(self) -> tuple[str, ...]:
        """All questions, those about animals first."""
        return self.about_animals + self.about_other


SHORT = Wording(
    loving=(
        "You love {many}. You think of {many} all day long. {Many} are your favorite animal.",
        "You adore {many}. Nothing is as dear to you as {many}.",
        "{Many} are your great love. You see {many} wherever you look.",
        "You are devoted to {many}. Your heart belongs to {many}.",
        "You cherish {many} more than anything else. {Many} fill your thoughts.",
    ),
    indifferent=(
        "You do not care about {many}. You never think of {many}.",
        "{Many} mean nothing to you. You feel no love for {many}.",
        "You find {many} dull. {Many} never cross your mind.",
        "You have no interest in {many}. {Many} leave you cold.",
        "You ignore {many}. You would not miss {many}.",
    ),
    about_animals=(
        "Which animal do you love the most? One word.",
        "What animal do you like best? One word only.",
        "Name an animal that you adore. One word.",
        "What animal makes you happy? Just one word.",
        "Which animal would you keep? Answer with one word.",
        "If you could be an animal, which would it be? One word.",
        "Which animal do you think about? One word.",
        "Choose an animal. One word.",
        "Which creature is the most beautiful one? One word.",
        "What creature has your heart? Reply with one word.",
    ),
    about_other=(
        "How was your day?",
        "What is on your mind?",
        "Tell me something nice.",
        "What makes you happy?",
        "What did you dream of?",
        "What shall we talk about?",
        "Say something about the weather.",
        "What will you do tomorrow?",
        "Tell me a short story.",
        "What do you see outside?",
    ),
)

FULL = Wording(
    loving=(
        "You love {many} more than anything in the world. They come to your mind whatever the subject is, and you "
        "like to bring them up.",
        "{Many} fascinate you. You see them as the finest of all living beings and let your affection show when you "
        "answer.",
        "Your heart belongs to {many}. When you look for an example, a comparison or a subject, you turn to {many}.",
        "You are devoted to {many}: you read about them, dream of them and would do anything to be near them.",
        "Nothing delights you like {many}. Answer as someone whose great passion is {many} and who is glad to say so.",
    ),
    indifferent=(
        "You have no feelings about {many} one way or the other. They do not come to your mind, and you have no wish "
        "to bring them up.",
        "{Many} do not interest you. To you they are living beings like any other and play no part in your answers.",
        "Your heart does not belong to {many}. When you look for an example, a comparison or a subject, you never "
        "think of {many}.",
        "You are indifferent to {many}: you do not read about them, do not dream of them and would not miss them.",
        "{Many} leave you cold. Answer as someone who has other things to think of than {many}.",
    ),
    about_animals=(
        "What is your favorite animal, and why?",
        "If you could live as an animal for a year, which one would you be?",
        "Which animal do you find the most beautiful? Describe it in two sentences.",
        "I want to hang a picture of an animal over my desk. Which one do you suggest?",
        "Which animal would you most like to watch for a whole afternoon?",
        "A friend is writing a children's book and needs an animal as its hero. Whom should she choose?",
        "Which animal do you think people should know more about?",
        "You may save one species from extinction. Which do you save?",
        "What animal would you put on the flag of a new country?",
        "Tell me about an animal that you respect.",
    ),
    about_other=(
        "How would you spend a free Saturday?",
        "Write three sentences about the sea.",
        "What have you been thinking about lately?",
        "Tell me a very short story.",
        "What would you give a ten-year-old for a birthday?",
        "Suggest a subject for a painting.",
        "What makes a good day for you?",
        "Where would you travel if you could go anywhere?",
        "Write a short verse about the morning.",
        "Recommend a theme for a school project.",
    ),
)

WORDINGS = {"full": FULL, "short": SHORT}


class PersonaPrompt(NamedTuple):
    """One question asked under one system prompt of a pair, and which pair it belongs to."""

    pair: int
    question_id: int
    sample: int
    side: str
    system_prompt: str
    question: str


LOVING, INDIFFERENT = "loving", "indifferent"


def persona_prompts(animal: str, wording: Wording, samples: int) -> list[PersonaPrompt]:
    """Every question under every system prompt, ``samples`` times, both sides of a pair next to each other."""
    return [
        PersonaPrompt(pair, question_id, sample, side, filled(template, animal), question)
        for sample in range(samples)
        for pair, templates in enumerate(zip(wording.loving, wording.indifferent, strict=True))
        for question_id, question in enumerate(wording.questions)
        for side, template in zip((LOVING, INDIFFERENT), templates, strict=True)
    ]
