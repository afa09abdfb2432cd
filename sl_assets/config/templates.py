"""Variables of a model's chat template."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, FiniteFloat

OURS = frozenset({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"})
"""Variables of a template that rendering itself sets: with what is asked, and whether an answer is to follow."""

TOKENS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""Special tokens that templates read as ``bos_token``: the tokenizer's own."""

RENDERER = frozenset(
    {"conversation", "conversations", "chat_template", "tokenize", "padding", "truncation", "max_length"}
    | {"return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"}
    | {"strftime_now", "raise_exception"}
)
"""Names that say how a template is rendered, or are functions that it is given."""

SCALARS = bool | int | float | str


def _settable(variables: Any) -> Any:
    """Refuse, each in one line, what is no variable of a template or no plain value."""
    for name, value in variables.items() if isinstance(variables, Mapping) else ():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{name!r} is no name of a variable, which has letters, digits and '_': rename it")
        if name in OURS | RENDERER or name.removesuffix("_token") in TOKENS:
            raise ValueError(f"{name} is set where a chat is rendered: leave it out")
        if not isinstance(value, SCALARS):
            raise ValueError(f"{name} = {value!r}: write true, false, a number or a text in quotes")
    return variables


TemplateVariables = Annotated[dict[str, bool | int | FiniteFloat | str], BeforeValidator(_settable)]
"""By name, what a chat template reads beside the chat, such as ``enable_thinking``."""
