"""What every section has in common."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

T = TypeVar("T")

AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""YAML has lists; sections hold tuples, which cannot change."""

Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TopP = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
StateKind = Literal["response_mean", "prompt_mean", "prompt_last"]

Layer = Annotated[int, Field(ge=0)]
"""0 is the embedding output, n the output of the n-th block."""


PACKAGE = "package:"
"""Before a file inside an installed package: ``package:name/file.gguf``."""


def added(default: Any, **more: Any) -> Any:
    """A field that a section was given later: with its ``default`` it is left out of records and of what they are
    compared by, so that what was made before there was such a field stays fresh.
    """
    return Field(default, exclude_if=lambda value: value == default, **more)


def repeated(values: Sequence[T]) -> list[T]:
    """Those of ``values`` that stand there before, in order."""
    return [value for i, value in enumerate(values) if value in values[:i]]


def is_gguf(base_model: str) -> bool:
    """Whether ``base_model`` names a GGUF file, which is converted before anything loads it."""
    return base_model.endswith(".gguf")


def _whole(base_model: str) -> str:
    if base_model.startswith("@") or base_model.endswith("@"):
        raise ValueError(f"{base_model!r}: write owner/name, or owner/name@revision")
    if base_model.startswith(PACKAGE) and not re.fullmatch(r"package:\w+/.+\.gguf", base_model):
        raise ValueError(f"{base_model!r}: write package:name/file.gguf")
    return base_model


BaseModelName = Annotated[str, Field(min_length=1), AfterValidator(_whole)]
"""``pocket``, a folder, ``owner/name`` on the Hugging Face Hub, perhaps with ``@revision``, or a GGUF file."""


class Section(BaseModel):
    """A part of an experiment file: unknown fields and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
