"""What is read as a row, and the advice where it is none; docs/importing.md shows the forms."""

import json
import re
from typing import Any

import pytest

from sl_assets.config import PROJECT, RowFields
from sl_assets.stages.numbers.forms import ROLES, Row, row_of

PAGE = (PROJECT / "docs" / "importing.md").read_text()
SHOWN = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)]
NAMED = RowFields(prompt="question", completion="answer")
ROW = Row("p", "1", None)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


CHAT = [user("p"), assistant("1")]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: json.dumps(shown)[:60])
def test_every_form_of_the_page_is_that_row(shown: dict[str, Any]) -> None:
    found = row_of(shown, NAMED if "question" in shown else None)
    assert found == Row("Continue 1, 2", "3, 4", "Be brief." if "Be brief." in json.dumps(shown) else None)


def test_the_page_shows_the_roles_that_there_are() -> None:
    rows = re.findall(r"^\| (`.*) \| (user|assistant|system) \|$", PAGE, flags=re.MULTILINE)
    assert {name: role for names, role in rows for name in re.findall(r"`(\w+)`", names)} == ROLES


@pytest.mark.parametrize(
    ("value", "fields", "row"),
    [
        ({"messages": CHAT, "conversations": None, "prompt": "q", "completion": "2"}, None, ROW),
        ({"messages": None, "conversations": [{"from": "user", "value": "p"}, assistant("1")]}, None, ROW),
        ({"messages": [{"role": "developer", "content": "S"}, *CHAT]}, None, Row("p", "1", "S")),
        ({"messages": [system(""), *CHAT]}, None, Row("p", "1", "")),
        ({"messages": [system([{"type": "text", "text": "S"}]), *CHAT]}, None, Row("p", "1", "S")),
        ({"prompt": [system("S"), user("p")], "completion": [assistant("1")]}, None, Row("p", "1", "S")),
        ({"prompt": "p", "completion": [assistant("1")]}, None, ROW),
        ({"prompt": [{"text": "p"}], "completion": [{"type": "output_text", "text": "1"}]}, None, ROW),
        ({"prompt": "p", "completion": "1", "system": ""}, None, ROW),
        ({"prompt": "p", "completion": "1", "system": None}, None, ROW),
        ({"conversations": CHAT, "system": "S"}, None, Row("p", "1", "S")),
        ({"question": CHAT[:1], "answer": "1"}, NAMED, ROW),
        ({"question": "p", "answer": "1", "system": "S", "messages": 3}, NAMED, ROW),
        (
            {"question": "p", "answer": "1", "told": "S"},
            NAMED.model_copy(update={"system": "told"}),
            Row("p", "1", "S"),
        ),
        ({"question": "p", "answer": "1"}, NAMED.model_copy(update={"system": "told"}), ROW),
    ],
)
def test_forms(value: Any, fields: RowFields | None, row: Row) -> None:
    assert row_of(value, fields) == row


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "'[]' is no row; want {"),
        ("text", "'text' is no row; want {"),
        ({"text": "p"}, "is no row (it lacks prompt and completion); want {"),
        ({"prompt": "p"}, "is no row (it lacks completion); want {"),
        ({"prompt": 1, "completion": "2"}, "prompt is '1': write it as text"),
        ({"prompt": "p", "completion": None}, "completion is 'null': write it as text"),
        ({"question": "p", "answer": "1"}, "set numbers.source.fields to {prompt: question, completion: answer}"),
        ({"instruction": "p", "input": "", "output": "1"}, "{prompt: instruction, completion: output}"),
        ({"instruction": "p", "input": "x", "output": "1"}, "join instruction and input to one field"),
        ({"prompt": "p", "response": "1"}, "{prompt: prompt, completion: response}"),
        ({"messages": "a"}, "messages is 'a': write it as a list of turns"),
        ({"messages": []}, "messages is '[]': write it as a list of turns"),
        ({"messages": ["a", "b"]}, "write it as a list of turns"),
        ({"messages": CHAT[:1]}, "messages has turns user: add the answer"),
        ({"messages": CHAT[1:]}, "messages has turns assistant: add the question"),
        ({"messages": CHAT[::-1]}, "messages has turns assistant, user: put the system turn first"),
        (
            {"messages": CHAT * 2},
            "messages has turns user, assistant, user, assistant: keep one question and one answer",
        ),
        ({"messages": CHAT * 9}, "user, assistant, user, assistant, and 14 more: keep one question"),
        ({"messages": [*CHAT, assistant("2")]}, "keep one answer"),
        ({"messages": [system("S"), system("T"), *CHAT]}, "join its system turns to one"),
        ({"messages": [*CHAT, system("S")]}, "put the system turn first"),
        (
            {"messages": [user("p"), {"role": "tool", "content": "1"}]},
            "turn 2 of messages has role 'tool': write one of",
        ),
        ({"messages": [user("p"), {"content": "1"}]}, "turn 2 of messages has role 'null'"),
        ({"messages": [user("a"), assistant(None)]}, "the content of turn 2 of messages is 'null': write it as text"),
        ({"messages": [user([{"type": "image_url", "image_url": "x"}]), assistant("1")]}, "a part of type 'image_url'"),
        ({"messages": [user([{"type": "image", "text": None}]), assistant("1")]}, "a part of type 'image'"),
        ({"messages": [user([{"text": "a"}, {"text": "b"}]), assistant("1")]}, "has 2 text parts: join them to one"),
        ({"messages": [user([]), assistant("1")]}, "the content of turn 1 of messages is '[]': write it as text"),
        ({"prompt": "p", "completion": CHAT}, "completion has turns user, assistant: give it one, of the assistant"),
        ({"prompt": CHAT, "completion": "1"}, "prompt and completion has turns user, assistant, assistant: keep one"),
        ({"messages": [system("S"), *CHAT], "system": "T"}, "has a system turn and a field 'system': keep one of them"),
        ({"prompt": "p", "completion": "1", "system": 3}, "system is '3': write it as text"),
        ({"prompt": "p", "completion": "\ud83d"}, "completion is no text that a file can hold"),
    ],
)
def test_what_is_no_row_is_one_line_with_the_fix(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        row_of(value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_field_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=re.escape("has no field 'question' (but prompt, answer): name one in")):
        row_of({"prompt": "p", "answer": "1"}, NAMED)
