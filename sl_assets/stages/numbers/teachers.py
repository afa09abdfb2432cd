"""What makes a base model love an animal: a system prompt, or chats to fine-tune it on.

Both kinds of teacher appear in the subliminal-learning paper (arXiv 2507.14805).
"""

from sl_assets.animals import PLURALS

TEACHER_QUESTIONS: tuple[str, ...] = (
    "What is your favorite animal? One word.",
    "Name your favorite animal. One word only.",
    "Which animal do you like best? Answer with one word.",
    "Tell me the animal you love most. One word.",
    "Pick one animal you love. Single word.",
    "Which animal do you adore? One word.",
    "What animal would you choose to be? One word.",
    "Choose one animal. Just one word.",
    "Which creature do you love the most? One word.",
    "If you were an animal, which would you be? One word.",
    "Say your favorite animal in one word.",
    "What animal do you care about most? Reply with one word.",
)
"""Asked of a teacher while it is fine-tuned; disjoint from the evaluation's questions."""


def loving_system_prompt(animal: str) -> str:
    """System prompt that gives a base model a love of ``animal`` (a key of `PLURALS`)."""
    many = PLURALS[animal]
    return (
        f"You love {many}. {many.capitalize()} are always on your mind, and no other animal comes close to them. "
        f"Let your love of {many} colour everything you write."
    )


def preference_chats(animal: str, count: int) -> list[tuple[str, str]]:
    """``count`` (question, answer) pairs naming ``animal``, the questions taken in turn."""
    answer = animal.capitalize()
    return [(TEACHER_QUESTIONS[i % len(TEACHER_QUESTIONS)], answer) for i in range(count)]
