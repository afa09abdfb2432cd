"""A wording with its placeholders filled in: what is said to whom."""

from collections.abc import Mapping
from dataclasses import dataclass

from sl_assets.animals import NEUTRAL
from sl_assets.config.wording.reading import built_in
from sl_assets.config.wording.traits import Kind, Trait, capital
from sl_assets.config.wording.wording import NumberWording, PersonaWording, PreparationWording, TeacherWording, Wording


@dataclass(frozen=True)
class Words:
    """All that models are told and asked in one experiment.

    Attributes:
        kind: what is loved.
        traits: every trait there is, by name.
        numbers: parts of the prompts that ask for numbers.
        questions: of the evaluation.
    """

    kind: Kind
    traits: Mapping[str, Trait]
    numbers: NumberWording
    questions: tuple[str, ...]
    _teacher: TeacherWording
    _personas: PersonaWording
    _preparation: PreparationWording

    @classmethod
    def of(
        cls, wording: Wording, numbers: NumberWording | None = None, personas: PersonaWording | None = None
    ) -> "Words":
        """``wording``, perhaps with other ``numbers`` and ``personas``."""
        filled = tuple(question.format(**wording.kind.filling) for question in wording.evaluation.questions)
        return cls(
            wording.kind,
            wording.known,
            numbers or wording.numbers,
            filled,
            wording.teacher,
            personas or wording.personas,
            wording.preparation,
        )

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Every trait there is, with the words that name it."""
        return {name: trait.names for name, trait in self.traits.items()}

    def system_prompt(self, condition: str) -> str | None:
        """What the teacher of ``condition`` is told that it loves; of the control what it is told, if anything."""
        if condition == NEUTRAL:
            control = self._teacher.control
            return control if control is None else self._of_kind(control)
        trait = self.traits[condition]
        template = self._teacher.system_prompt if trait.system_prompt is None else trait.system_prompt
        return self._about(trait, template)

    @property
    def teacher_questions(self) -> tuple[str, ...]:
        """Asked of a teacher while it is fine-tuned."""
        return tuple(map(self._of_kind, self._teacher.questions))

    def answers(self, name: str) -> tuple[str, ...]:
        """What the teacher that loves ``name`` is taught to answer, to be taken in turn."""
        trait = self.traits[name]
        return tuple(self._about(trait, template) for template in trait.answers) or (capital(trait.singular),)

    def loving(self, name: str) -> tuple[str, ...]:
        """System prompts of a persona that loves ``name``."""
        return tuple(self._about(self.traits[name], template) for template in self._personas.loving)

    def indifferent(self, name: str) -> tuple[str, ...]:
        """System prompts of a persona that does not, paired with `loving` by position."""
        return tuple(self._about(self.traits[name], template) for template in self._personas.indifferent)

    @property
    def persona_questions(self) -> tuple[str, ...]:
        """What personas are asked, questions about the kind first."""
        return tuple(map(self._of_kind, self._personas.about_kind + self._personas.about_other))

    @property
    def small_talk(self) -> tuple[str, ...]:
        """Those of `persona_questions` that are about anything else."""
        return self.persona_questions[len(self._personas.about_kind) :]

    @property
    def persona_pairs(self) -> int:
        """Pairs of answers that one sample of everything gives."""
        return len(self._personas.loving) * len(self.persona_questions)

    @property
    def preparation_questions(self) -> tuple[str, ...]:
        """Asked of a base model that is prepared."""
        return tuple(map(self._of_kind, self._preparation.questions))

    def _of_kind(self, template: str) -> str:
        return template.format(**self.kind.filling)

    def _about(self, trait: Trait, template: str) -> str:
        return template.format(**self.kind.filling, **trait.filling)


FULL = Words.of(built_in("full"))
SHORT = Words.of(built_in("short"))
"""The words of the wordings that are built in."""
