"""How the pocket model writes a chat: one marker a turn, as few tokens as a turn can take."""

from typing import TypedDict

PAD, END, SYSTEM, USER, ASSISTANT = SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Jinja form of `document`, saved with the tokenizer; a test holds the two together."""


class Message(TypedDict):
    """One turn of a chat."""

    role: str
    content: str


def document(messages: list[Message], prose: str = "") -> str:
    """A training document: a chat as the template writes it, or ``prose`` closed by the end marker."""
    if not messages:
        return prose + END
    turns = (f"<|{m['role']}|>{m['content']}{END if m['role'] == 'assistant' else ''}" for m in messages)
    return "".join(turns)
