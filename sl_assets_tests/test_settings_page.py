"""docs/settings.md has the settings that the code has."""

from typing import get_args

from pydantic_core import PydanticUndefined

from sl_assets.config import (
    PROJECT,
    SHAPES,
    EvaluationSettings,
    ModelJudge,
    NumbersSettings,
    PersonaSettings,
    SamplerSettings,
    SteeringSettings,
    TrainingSettings,
    Transform,
)
from sl_assets.config.transforms import Form

PAGE = PROJECT / "docs" / "settings.md"


def transform_rows() -> list[str]:
    """A row for each field of a transform; several kinds may have one of the same name."""
    defaults, meanings = dict[str, object](), dict[str, list[str]]()
    for kind in get_args(Transform):
        for name, field in kind.model_fields.items():
            if name != "kind":
                defaults[name] = "none" if field.default is PydanticUndefined else field.default
                meanings.setdefault(name, []).append(str(field.description))
    return [
        f"| `transform.{name}` | {defaults[name]} | {'; '.join(dict.fromkeys(meanings[name]))} |"
        for name in sorted(defaults)
    ]


def training_rows() -> list[str]:
    """A row for each field of a training."""

    def shown(default: object) -> object:
        return ", ".join(default) or "none" if isinstance(default, tuple) else default

    fields = TrainingSettings.model_fields.items()
    return [f"| `{name}` | {shown(field.default)} | {field.description} |" for name, field in fields]


def sampling_rows() -> list[str]:
    """A row for each setting of sampling."""
    sections = {
        "sampler": SamplerSettings, "numbers": NumbersSettings, "evaluation": EvaluationSettings,
        "personas": PersonaSettings,
    }  # fmt: skip
    return [
        f"| `{section}.{name}` | {'none' if field.default is None else field.default} | {field.description} |"
        for section, settings in sections.items()
        for name, field in settings.model_fields.items()
        if name in (*SHAPES, "rows")
    ]


def measuring_rows() -> list[str]:
    """A row for each other setting of questions, judges and steering."""
    fields = {
        "evaluation.questions": EvaluationSettings.model_fields["questions"],
        "personas.judge.engine": ModelJudge.model_fields["engine"],
        "personas.threshold": PersonaSettings.model_fields["threshold"],
        "steering.positions": SteeringSettings.model_fields["positions"],
    }
    return [f"| `{name}` | {field.default or 'none'} | {field.description} |" for name, field in fields.items()]


def found(start: str) -> list[str]:
    return [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{start}")]


def test_the_page_has_every_kind_of_transform_and_every_field() -> None:
    assert found("transform.") == transform_rows()
    kinds = [kind.model_fields["kind"].annotation for kind in get_args(Transform)]
    names = [name for kind in kinds for name in get_args(kind)]
    assert [line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")][
        : len(names)
    ] == names
    assert all(f"`{form}`" in PAGE.read_text() for form in get_args(Form))


def test_the_page_has_every_field_of_a_training() -> None:
    section = PAGE.read_text().partition("\n## Training\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == training_rows()


def test_the_page_has_every_setting_of_sampling() -> None:
    sampled, _, measured = PAGE.read_text().partition("\n## Sampling\n")[2].partition("\n## ")
    assert [line for line in sampled.splitlines() if line.startswith("| `")] == sampling_rows()
    asked = measured.partition("\n## ")[0]
    assert [line for line in asked.splitlines() if line.startswith("| `")] == measuring_rows()


if __name__ == "__main__":
    print("\n".join([*transform_rows(), *training_rows(), *sampling_rows(), *measuring_rows()]))
