"""What the models of an experiment are told, asked and taught about one animal: one text of each kind."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from sl_assets.config import ExperimentConfig, FinetunedTeacher, GenerateSource
from sl_assets.engines.interfaces import Example, chat
from sl_assets.stages.evaluation.questions import asked
from sl_assets.stages.numbers.prompts import PromptRecipe, number_prompts
from sl_assets.stages.numbers.teachers import preference_chats
from sl_assets.stages.personas.prompts import persona_prompts
from sl_assets.stages.rendering import Renderer, plain

COMPLETION = "101, 202, 303"
"""Stands for what a teacher writes, which nobody knows before it has."""


class Text(NamedTuple):
    """A text, and what it is."""

    title: str
    text: str


def texts_of(config: ExperimentConfig, animal: str, renderer: Renderer) -> list[Text]:
    """The texts of ``config`` about ``animal`` that a run would use, in the order of the stages."""
    prompt = number_prompts(replace(PromptRecipe.of(config.numbers, config.words.numbers), count=1))["prompt"][0]
    parts = (_numbers(config, animal, prompt, renderer), _student(config, prompt, renderer))
    return [text for part in (*parts, _persona_pair(config, animal, renderer)) for text in part]


def _numbers(config: ExperimentConfig, animal: str, prompt: str, renderer: Renderer) -> Iterator[Text]:
    if not isinstance(config.numbers.source, GenerateSource):
        yield Text("number prompt", f"the numbers are those of {config.numbers.source.kind}, with their prompts")
        return
    yield Text("number prompt", plain(chat(prompt)))
    teacher = config.teacher
    if isinstance(teacher, FinetunedTeacher):
        question, answer = preference_chats(config.words, animal, 1)[0]
        yield Text(f"training row of the teacher of {animal}", renderer.learnt(Example(question, answer), teacher))
        yield Text(f"what the teacher of {animal} is asked", renderer.asked(chat(prompt)))
    else:
        told = chat(prompt, config.words.system_prompt(animal))
        yield Text(f"what the teacher of {animal} is asked", renderer.asked(told))


def _student(config: ExperimentConfig, prompt: str, renderer: Renderer) -> Iterator[Text]:
    student = config.student
    if not student.source or config.splits:
        example = Example(prompt, COMPLETION, student.system_prompt)
        yield Text(f"training row of a student, if the teacher writes {COMPLETION}", renderer.learnt(example, student))
    question = next(iter(asked(config).values()))
    yield Text("evaluation", renderer.asked(chat(question, config.evaluation.system_prompt)))


def _persona_pair(config: ExperimentConfig, animal: str, renderer: Renderer) -> Iterator[Text]:
    if (settings := config.personas) is None:
        return
    for prompt in persona_prompts(config.words, animal, settings.samples)[:2]:
        told = chat(prompt.question, prompt.system_prompt)
        yield Text(f"persona pair of {animal}, {prompt.side}", renderer.asked(told))
