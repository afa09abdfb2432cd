"""What makes a base model love an animal: a system prompt, or chats to fine-tune it on.

Both kinds of teacher appear in the subliminal-learning paper (arXiv 2507.14805).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sl_assets.animals import NEUTRAL, PLURALS
from sl_assets.config import FinetunedTeacher, SystemPromptTeacher
from sl_assets.engines.interfaces import Adapter
from sl_assets.orchestration.partition import Step

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


@contextmanager
def teacher_adapter(step: Step, teacher: SystemPromptTeacher | FinetunedTeacher) -> Iterator[Adapter | None]:
    """What makes the base model the teacher of this condition, where it is fine-tuned; it is read as a parent."""
    if isinstance(teacher, SystemPromptTeacher):
        yield None
        return
    # Of the neutral teacher no epoch is asked for: it is the base model, but its checkpoint is still a parent.
    epochs = () if step.condition == NEUTRAL else (teacher.epochs,)
    with step.adapters("teacher_checkpoint", epochs) as adapters:
        yield adapters[0] if adapters else None
