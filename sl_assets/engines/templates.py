"""How chats become the text that a model reads: by its chat template, alike in every engine and on every day.

A template may ask for the date. What it writes is then written once more for a day that has nothing in common with the
first; where the two differ, the template is refused. Nothing here imports what runs models.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sl_assets.config.templates import OURS, RENDERER, TOKENS
from sl_assets.engines.interfaces import Chat, chat
from sl_assets.errors import SlAssetsError

if TYPE_CHECKING:
    from jinja2.nodes import Node

DAYS = (datetime(2001, 2, 3, 4, 5, 6), datetime(2022, 11, 14, 17, 38, 49))
"""Two moments of which no part, of date or time, is the same."""

QUESTION, ANSWER, TOLD = "QUESTION-7f3a", "ANSWER-7f3a", "TOLD-7f3a"
"""Words that stand in no template."""

OWN_TEMPLATE = "name a folder of the model with a chat_template.jinja of its own that"


class Frame(NamedTuple):
    """What a chat template writes around a user's words.

    Attributes:
        before: what stands before them.
        after: what stands between them and the answer.
    """

    before: str
    after: str


class Clock:
    """Takes the place of a template's ``strftime_now``: always the same moment, and it notes what it was asked."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment
        self.forms: list[str] = []

    def __call__(self, format: str) -> str:
        """The moment in a form of ``strftime``."""
        self.forms.append(format)
        return self._moment.strftime(format)


@dataclass(frozen=True)
class Rendering:
    """A base model's chat template, as an experiment uses it.

    Attributes:
        base_model: its name, for the user.
        variables: what the template reads beside the chat.
        told_by: settings of the experiment that put a system message into chats, each with the way to have none.
        plain: whether it has chats without one.
    """

    base_model: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    told_by: Mapping[str, str] = field(default_factory=dict)
    plain: bool = True

    def check(self, tokenizer: Any) -> None:
        """Refuse what would fail at the first chat, or would have no effect, before anything is run.

        Raises:
            SlAssetsError: there is no template, it does not read a variable, or cannot write what the experiment asks.
        """
        check_variables(self.template(tokenizer), self.variables, self._named(tokenizer))
        systems = ([None] if self.plain else []) + ([TOLD] if self.told_by else [])
        self.prompts(tokenizer, [chat(QUESTION, system) for system in systems])

    def template(self, tokenizer: Any) -> str:
        """The template's source.

        Raises:
            SlAssetsError: there is none.
        """
        try:
            return str(tokenizer.get_chat_template())
        except ValueError:
            raise SlAssetsError(
                f"{self._named(tokenizer)}: it has no chat template; name a model that was made for chats, or a folder "
                "of the model with a chat_template.jinja"
            ) from None

    def prompts(self, tokenizer: Any, chats: Sequence[Chat]) -> list[str]:
        """Chats that end with a user's turn, each up to where the model begins to write.

        Raises:
            SlAssetsError: the template refuses one, leaves something out, or writes the date.
        """
        return self._texts(tokenizer, chats, add_generation_prompt=True)

    def finished(self, tokenizer: Any, answered: Chat) -> str:
        """A chat that ends with an answer, and what the template writes after it.

        Raises:
            SlAssetsError: as of `prompts`.
        """
        return self._texts(tokenizer, [answered], add_generation_prompt=False)[0]

    def trained_frame(self, tokenizer: Any, system: str | None) -> Frame:
        """What surrounds the words of a row that a student is trained on, up to the first of the completion."""
        return _frame(self.finished(tokenizer, answered(QUESTION, ANSWER, system)), ANSWER)

    def asked_frame(self, tokenizer: Any, system: str | None) -> Frame:
        """What surrounds the words of a question that a student is asked, up to where it begins to write."""
        return _frame(self.prompts(tokenizer, [chat(QUESTION, system)])[0])

    def alike_with(self, tokenizer: Any) -> str | None:
        """The setting with which rows and questions are written alike, found by trying; None where there is none."""
        return self._setting_with(
            tokenizer,
            (False, True),
            lambda other, _: other.trained_frame(tokenizer, None) == other.asked_frame(tokenizer, None),
        )

    def unlike(self, tokenizer: Any) -> SlAssetsError:
        """Why nothing can be learnt where a finished chat does not begin with its prompt."""
        alike = self.alike_with(tokenizer)
        return SlAssetsError(
            f"{self._named(tokenizer)}: its chat template writes finished chats unlike prompts, so completions cannot "
            f"be told from prompts; {f'set {alike}' if alike else 'use a model whose template does not'}"
        )

    def _setting_with(
        self, tokenizer: Any, values: Sequence[Any], holds: Callable[["Rendering", Any], bool]
    ) -> str | None:
        """The first variable of the template, with one of ``values``, for which ``holds`` of the rendering."""
        for name in sorted(variables_read(self.template(tokenizer))):
            for value in values:
                with suppress(SlAssetsError):
                    if holds(replace(self, variables={**self.variables, name: value}), value):
                        return setting({name: value})
        return None

    def _texts(self, tokenizer: Any, chats: Sequence[Chat], **how: bool) -> list[str]:
        if not chats:
            return []
        clock = Clock(DAYS[0])
        texts = self._written(tokenizer, chats, clock, how)
        if clock.forms and texts != self._written(tokenizer, chats, Clock(DAYS[1]), how):
            raise self._dated(tokenizer, chats, clock, how)
        for asked, text in zip(chats, texts, strict=True):
            if lost := next((message for message in asked if message["content"].strip() not in text), None):
                raise self._leaves_out(tokenizer, lost["role"], lost["content"])
        return texts

    def _written(self, tokenizer: Any, chats: Sequence[Chat], clock: Clock, how: Mapping[str, bool]) -> list[str]:
        from jinja2 import TemplateError

        try:
            found: list[str] = tokenizer.apply_chat_template(
                list(chats), tokenize=False, strftime_now=clock, **how, **self.variables
            )
        except (TemplateError, TypeError) as error:
            raise self._refused(tokenizer, chats, error, how) from error
        return found

    def _can(self, tokenizer: Any, asked: Chat, how: Mapping[str, bool]) -> bool:
        from jinja2 import TemplateError

        try:
            tokenizer.apply_chat_template(asked, tokenize=False, strftime_now=Clock(DAYS[0]), **how, **self.variables)
        except (TemplateError, TypeError):
            return False
        return True

    def _refused(
        self, tokenizer: Any, chats: Sequence[Chat], error: Exception, how: Mapping[str, bool]
    ) -> SlAssetsError:
        refused = next((asked for asked in chats if not self._can(tokenizer, asked, how)), chats[0])
        reason = " ".join(str(error).split()) or type(error).__name__
        others = [message for message in refused if message["role"] != "system"]
        if len(others) < len(refused) and self._can(tokenizer, others, how):
            return SlAssetsError(
                f"{self._named(tokenizer)}: its chat template refuses the role system ({reason}); {self._untold()}"
            )
        roles = ", ".join(message["role"] for message in refused)
        return SlAssetsError(
            f"{self._named(tokenizer)}: its chat template refuses a chat of {roles} ({reason}); {OWN_TEMPLATE} takes it"
        )

    def _leaves_out(self, tokenizer: Any, role: str, content: str) -> SlAssetsError:
        way = self._untold() if role == "system" else f"{OWN_TEMPLATE} writes them"
        shown = json.dumps(content[:40], ensure_ascii=False)
        return SlAssetsError(
            f"{self._named(tokenizer)}: its chat template leaves out what was said by the role {role} ({shown}); {way}"
        )

    def _untold(self) -> str:
        """How to do without system messages."""
        own = f"{OWN_TEMPLATE} takes them"
        if not self.told_by:
            return f"ask without a system message, or {own}"
        places = ", ".join(f"{name} ({way})" for name, way in self.told_by.items())
        return f"what puts a system message there is {places}; or {own}"

    def _dated(self, tokenizer: Any, chats: Sequence[Chat], clock: Clock, how: Mapping[str, bool]) -> SlAssetsError:
        today = datetime.now().strftime(clock.forms[0])

        def is_given(other: "Rendering", date: str) -> bool:
            first, second = (other._written(tokenizer, chats, Clock(day), how) for day in DAYS)
            return first == second and date in first[0]

        given = self._setting_with(tokenizer, [today], is_given)
        return SlAssetsError(
            f"{self._named(tokenizer)}: its chat template writes today's date, so texts of different days would "
            f"differ; {f'set {given}' if given else f'{OWN_TEMPLATE} writes none'}"
        )

    def _named(self, tokenizer: Any) -> str:
        return f"base_model {self.base_model or getattr(tokenizer, 'name_or_path', '')!r}"


def answered(question: str, answer: str, system: str | None = None) -> Chat:
    """A question, perhaps under a system prompt, and its answer."""
    return [*chat(question, system), {"role": "assistant", "content": answer}]


def setting(variables: Mapping[str, Any]) -> str:
    """``variables`` as an experiment file sets them, in one line."""
    values = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in variables.items())
    return f"chat_template: {{{values}}}"


def check_variables(template: str, variables: Mapping[str, Any], called: str) -> None:
    """Refuse a variable that ``template``, the source of a chat template, does not read.

    Raises:
        SlAssetsError: names it, and those that it reads.
    """
    there = variables_read(template)
    if unread := [name for name in variables if name not in there]:
        reads = f"it reads {', '.join(sorted(there))}" if there else "it reads none; leave chat_template out"
        raise SlAssetsError(f"chat_template.{unread[0]}: no variable of the chat template of {called}; {reads}")


@lru_cache(maxsize=16)
def variables_read(template: str) -> frozenset[str]:
    """Variables that the source of a chat template reads and an experiment may set.

    Raises:
        SlAssetsError: it is no template.
    """
    from jinja2 import Environment, TemplateSyntaxError, meta
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser

    class Generation(Extension):
        """The block of transformers' own that marks what a model writes."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> "list[Node]":
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = Environment(extensions=[loopcontrols, Generation])
    try:
        tree = environment.parse(template)
        named = meta.find_undeclared_variables(tree)
    except TemplateSyntaxError as error:
        raise SlAssetsError(f"chat_template.jinja: no template of Jinja, in line {error.lineno} ({error})") from error
    # Jinja also names what is set in one branch and read behind it.
    first: dict[str, str] = {}
    for name, use in _uses(tree):
        first.setdefault(name, use)
    own = {name for name, use in first.items() if use != "load"} | {f"{name}_token" for name in TOKENS}
    return frozenset(named - own - OURS - RENDERER - environment.globals.keys())


def _uses(node: "Node") -> Iterator[tuple[str, str]]:
    """Names in the order in which they are used, each with how: ``load``, ``store`` or ``param``."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        yield node.name, node.ctx
        return
    children = list(node.iter_child_nodes())
    if isinstance(node, nodes.Assign | nodes.AssignBlock):
        # What is assigned is read before.
        children.sort(key=lambda child: child is node.target)
    for child in children:
        yield from _uses(child)


def template_in(folder: Path) -> str | None:
    """The source of the chat template of the model in ``folder``; None where its files have none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    described = folder / "tokenizer_config.json"
    found = json.loads(described.read_text(encoding="utf-8")).get("chat_template") if described.is_file() else None
    if isinstance(found, list):
        found = {template["name"]: template["template"] for template in found}.get("default")
    return found


def _frame(rendered: str, answer: str | None = None) -> Frame:
    before, _, rest = rendered.partition(QUESTION)
    return Frame(before, rest.partition(answer)[0] if answer else rest)
