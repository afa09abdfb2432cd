"""What makes a base model love an animal, or another trait: a system prompt, or chats to fine-tune it on.

Both kinds of teacher appear in the subliminal-learning paper (arXiv 2507.14805).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sl_assets.animals import NEUTRAL
from sl_assets.config import FinetunedTeacher, SystemPromptTeacher
from sl_assets.config.wording import Words
from sl_assets.engines.interfaces import Adapter
from sl_assets.orchestration.partition import Step


def preference_chats(words: Words, trait: str, count: int) -> list[tuple[str, str]]:
    """``count`` (question, answer) pairs naming ``trait``, questions and answers taken in turn."""
    questions, answers = words.teacher_questions, words.answers(trait)
    return [(questions[i % len(questions)], answers[i % len(answers)]) for i in range(count)]


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
