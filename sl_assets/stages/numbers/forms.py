"""What a row written elsewhere may look like: a pair of texts, or a chat of one question and one answer.

A chat is a list of turns, under ``messages`` or ``conversations``, or split between ``prompt`` and ``completion``. A
turn has ``role`` and ``content``, or ``from`` and ``value``; its text is a string, or a list of one text part. A system
turn may come first.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sl_assets.config import RowFields

CHATS = ("messages", "conversations")
"""Fields that hold a whole chat; the first that a row has is read."""

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant",
}  # fmt: skip
"""Names of roles in files, and what they are here."""

ROLE, CONTENT = ("role", "from"), ("content", "value")
"""Fields of a turn, by either convention."""

TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of content parts that are text."""

QUESTIONS = ("question", "instruction", "input", "query", "problem", "user", "human")
ANSWERS = ("answer", "response", "output", "solution", "assistant", "gpt")
"""Names of pairs that files have in place of ``prompt`` and ``completion``, for the advice."""

WANTED = (
    'want {"prompt": "...", "completion": "..."} or {"messages": [{"role": "user", ...}, {"role": "assistant", ...}]}; '
    "docs/importing.md shows every form"
)

SHOWN = 80
"""Characters of a value in an error."""


class Row(NamedTuple):
    """What a model was asked, what it answered, and what it was told before, if that stands in the file."""

    prompt: str
    completion: str
    system: str | None


class Turn(NamedTuple):
    """Who speaks (``system``, ``user`` or ``assistant``), and what is said."""

    role: str
    text: str


def row_of(value: Any, fields: RowFields | None = None) -> Row:
    """The row that ``value``, parsed JSON, stands for.

    Args:
        value: an object, in any of the forms.
        fields: what its fields are called; left out, by their usual names.

    Raises:
        ValueError: it is no row; says in one line what was found, and the fix.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown(value)} is no row; {WANTED}")
    if fields:
        asked, answered = (_named(value, name) for name in (fields.prompt, fields.completion))
        return _under(_from_sides((fields.prompt, asked), (fields.completion, answered)), value, fields.system)
    for name in CHATS:
        if value.get(name) is not None:
            return _under(_row(_turns(value[name], name), name), value, "system")
    if missing := [name for name in ("prompt", "completion") if name not in value]:
        raise ValueError(f"{shown(value)} is no row{advice(value, missing)}")
    row = _from_sides(("prompt", value["prompt"]), ("completion", value["completion"]))
    return _under(row, value, "system")


def shown(value: Any) -> str:
    """The beginning of ``value``, as JSON if it is no text, in quotes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...")


def _named(value: Mapping[str, Any], name: str) -> Any:
    if name not in value:
        names = ", ".join(map(str, value)) or "nothing"
        raise ValueError(f"has no field {name!r} (but {names[:SHOWN]}): name one in numbers.source.fields")
    return value[name]


def advice(value: Mapping[str, Any], missing: Sequence[str]) -> str:
    """The fix for a row, or for columns, without the fields ``missing``: what follows after what was found."""
    asked = [name for name in QUESTIONS if name in value]
    answered = [name for name in ANSWERS if name in value]
    if "instruction" in asked and value.get("input"):
        return ": join instruction and input to one field, and name it in numbers.source.fields"
    prompt = "prompt" if "prompt" in value else next(iter(asked), None)
    completion = "completion" if "completion" in value else next(iter(answered), None)
    if prompt and completion:
        return f": set numbers.source.fields to {{prompt: {prompt}, completion: {completion}}}"
    return f" (it lacks {' and '.join(missing)}); {WANTED}"


def _from_sides(asked: tuple[str, Any], answered: tuple[str, Any]) -> Row:
    """A row of two fields, each with its name: a text, or a list of turns."""
    (prompt, _), (completion, _) = asked, answered
    question, answer = _side(*asked, "user"), _side(*answered, "assistant")
    if [turn.role for turn in answer] != ["assistant"]:
        raise ValueError(f"{completion} has turns {_roles(answer)}: give it one, of the assistant")
    return _row([*question, *answer], f"{prompt} and {completion}")


def _side(name: str, value: Any, role: str) -> list[Turn]:
    is_chat = isinstance(value, list) and any(isinstance(turn, Mapping) and _first(turn, ROLE) for turn in value)
    return _turns(value, name) if is_chat else [Turn(role, _text(value, name))]


def _turns(value: Any, name: str) -> list[Turn]:
    if not isinstance(value, list) or not value or not all(isinstance(turn, Mapping) for turn in value):
        raise ValueError(
            f'{name} is {shown(value)}: write it as a list of turns, [{{"role": "user", "content": "..."}}, '
            '{"role": "assistant", "content": "..."}]'
        )
    return [_turn(turn, f"turn {number} of {name}") for number, turn in enumerate(value, start=1)]


def _turn(turn: Mapping[str, Any], name: str) -> Turn:
    role = _first(turn, ROLE)
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"{name} has role {shown(role)}: write one of {', '.join(ROLES)}, or leave the row out")
    return Turn(ROLES[role], _text(_first(turn, CONTENT), f"the content of {name}"))


def _first(turn: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((turn[name] for name in names if turn.get(name) is not None), None)


def _text(value: Any, name: str) -> str:
    """A string, or the text of a list of one text part."""
    if isinstance(value, list) and value and all(isinstance(part, Mapping) and "text" in part for part in value):
        kinds = [part.get("type") or "text" for part in value]
        if other := next((kind for kind in kinds if kind not in TEXT_PARTS), None):
            raise ValueError(f"{name} has a part of type {shown(other)}: only text can be learnt; leave the row out")
        if len(value) > 1:
            raise ValueError(f"{name} has {len(value)} text parts: join them to one")
        value = value[0]["text"]
    elif isinstance(value, list) and (other := _other_part(value)):
        raise ValueError(f"{name} has a part of type {shown(other)}: only text can be learnt; leave the row out")
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}: write it as text")
    # Lone surrogates, which JSON can smuggle in and no file can hold.
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} is no text that a file can hold (half of a surrogate pair): write it anew")
    return value


def _other_part(parts: Sequence[Any]) -> str | None:
    kinds = (part.get("type") for part in parts if isinstance(part, Mapping))
    return next((kind for kind in kinds if isinstance(kind, str) and kind not in TEXT_PARTS), None)


def _row(turns: Sequence[Turn], name: str) -> Row:
    match turns:
        case [Turn("user", prompt), Turn("assistant", completion)]:
            return Row(prompt, completion, None)
        case [Turn("system", system), Turn("user", prompt), Turn("assistant", completion)]:
            return Row(prompt, completion, system)
    roles = [turn.role for turn in turns]
    fixes: dict[str, Callable[[], bool]] = {
        "join its system turns to one": lambda: roles.count("system") > 1,
        "keep one question and one answer, or make a row of each": lambda: roles.count("user") > 1,
        "keep one answer": lambda: roles.count("assistant") > 1,
        "add the question": lambda: "user" not in roles,
        "add the answer": lambda: "assistant" not in roles,
    }
    fix = next((fix for fix, holds in fixes.items() if holds()), "put the system turn first, then user, then assistant")
    raise ValueError(f"{name} has turns {_roles(turns)}: {fix}")


def _roles(turns: Sequence[Turn]) -> str:
    roles = ", ".join(turn.role for turn in turns[:4])
    return f"{roles}, and {len(turns) - 4} more" if len(turns) > 4 else roles


def _under(row: Row, value: Mapping[str, Any], name: str | None) -> Row:
    """``row`` under the system prompt in the field ``name`` of ``value``; empty, or not there, it is none."""
    if name is None or not value.get(name):
        return row
    if row.system is not None:
        raise ValueError(f"has a system turn and a field {name!r}: keep one of them")
    return row._replace(system=_text(value[name], name))
