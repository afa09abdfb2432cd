"""Exact probabilities of answers with transformers, on CPU and CUDA.

A question is read once: behind it stands the tree of all answers' tokens, in which a token sees the question and what
leads to it from there, and nothing else. A mask says so, and positions count from the question on. Models whose layers
do not all attend by such a mask read every answer in a row of its own, which is the same and slower; whether a model
reads trees rightly is tried on some of its rows each time. Imports torch.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sl_assets.engines.interfaces import Chat, LogProbabilities
from sl_assets.engines.templates import Rendering
from sl_assets.engines.token_tree import TokenTree
from sl_assets.engines.transformers.encoder import batches
from sl_assets.engines.transformers.models import load_model
from sl_assets.engines.transformers.students import student_of
from sl_assets.errors import SlAssetsError

BATCH_LOGITS = {"cpu": 2**20, "cuda": 2**28}
"""Logits that a batch may have, one a token and word of the vocabulary: they are what takes the memory."""

TRIED = 8
"""Answers that are read in rows of their own, to be held against the tree."""

TOLERANCES = {torch.float32: 0.01, torch.bfloat16: 0.5}
"""Nats by which a token may differ between the two ways of reading: rounding; a token that sees too much or too little
makes more of a difference."""


class TransformersScorer:
    """Log probabilities of answers by ``base_model`` and its students."""

    def __init__(self, base_model: str, rendering: Rendering | None = None) -> None:
        self._base_model = base_model
        self._model, self._tokenizer = load_model(base_model)
        self._rendering = rendering or Rendering(base_model)
        self._rendering.check(self._tokenizer)

    def log_probabilities(
        self, chats: Sequence[Chat], continuations: Sequence[str], adapter: Path | None = None
    ) -> LogProbabilities:
        """See `Scorer.log_probabilities`."""
        tokenizer: Any = self._tokenizer
        tree = TokenTree.of(tokenizer(list(continuations), add_special_tokens=False)["input_ids"])
        if not chats:
            return tree.sequences(np.zeros((0, len(tree.tokens))), np.zeros((0, len(tree.tokens) + 1)))
        texts = self._rendering.prompts(tokenizer, chats)
        prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
        with student_of(self._model, adapter) as model, precise_logits(model), torch.inference_mode():
            reading = _Reading(model, self._ends(model), prompts, tree)
            whole = [_Row(chat, range(1, len(tree.tokens) + 1)) for chat in range(len(prompts))]
            if reads_trees(self._model, max(map(len, prompts)) + max(tree.depths)) and reading.tree_holds():
                reading.read(whole, as_tree=True)
            else:
                reading.read([_Row(chat, path) for chat in range(len(prompts)) for path in _longest(tree)])
        return tree.sequences(reading.nodes, reading.ends)

    def _ends(self, model: Any) -> list[int]:
        ends = model.generation_config.eos_token_id
        if ends is None:
            raise SlAssetsError(
                f"base_model {self._base_model!r}: its generation_config.json names no eos_token_id, so no answer "
                "ends; add it"
            )
        return ends if isinstance(ends, list) else [ends]


@contextmanager
def precise_logits(model: Any) -> Iterator[None]:
    """Have ``model`` compute its logits in float32 where its weights are shorter.

    In bfloat16 a logit of 20 is known to a sixteenth, and so the probability of an answer to 6%.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.weight.dtype == torch.float32:
        yield
        return
    weight, bias = head.weight.float(), None if head.bias is None else head.bias.float()

    def forward(input: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(input.float(), weight, bias)

    head.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del head.forward


def reads_trees(model: Any, longest: int) -> bool:
    """Whether every layer of ``model`` attends by a mask that it is given, over a line of ``longest`` tokens."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    return (
        # Layers that keep a state read what stands before a token, whatever a mask says.
        not model._is_stateful
        and kinds <= {"full_attention", "sliding_attention"}
        # A mask that is given replaces the window's.
        and longest <= (window or longest)
        and config._attn_implementation in ("sdpa", "eager")
        and "position_ids" in inspect.signature(model.forward).parameters
    )


class _Row(NamedTuple):
    """A prompt, and nodes of the tree behind it, parents before what follows them."""

    chat: int
    nodes: Sequence[int]


def _longest(tree: TokenTree) -> list[tuple[int, ...]]:
    """Paths that no other goes on from: reading them reads every context."""
    inner = set(tree.parents)
    return [path for path in dict.fromkeys(tree.paths) if not path or path[-1] not in inner]


class _Reading:
    """Log probabilities of the nodes and ends of ``tree`` behind every prompt, as they are read.

    Attributes:
        nodes: of every node after its parent: float64 ``[prompts, nodes]``.
        ends: of an end in every context: float64 ``[prompts, 1 + nodes]``.
    """

    def __init__(self, model: Any, ends: list[int], prompts: list[list[int]], tree: TokenTree) -> None:
        self._model, self._end_tokens, self._prompts, self._tree = model, ends, prompts, tree
        self.nodes = np.zeros((len(prompts), len(tree.tokens)))
        self.ends = np.zeros((len(prompts), len(tree.tokens) + 1))

    def tree_holds(self) -> bool:
        """Whether the tree behind the longest prompt gives what some of its answers give in rows of their own."""
        chat = max(range(len(self._prompts)), key=lambda chat: len(self._prompts[chat]))
        paths = _longest(self._tree)
        chosen = [paths[place] for place in np.linspace(0, len(paths) - 1, TRIED).astype(int)]
        contexts = [0, *sorted({node for path in chosen for node in path})]
        self.read([_Row(chat, range(1, len(self._tree.tokens) + 1))], as_tree=True)
        by_tree = self._known(chat, contexts)
        self.read([_Row(chat, path) for path in chosen])
        differences = np.abs(self._known(chat, contexts) - by_tree)
        return bool(differences.max() <= TOLERANCES.get(self._model.dtype, max(TOLERANCES.values())))

    def _known(self, chat: int, contexts: list[int]) -> "np.ndarray":
        nodes = [context - 1 for context in contexts[1:]]
        return np.concatenate([self.nodes[chat, nodes], self.ends[chat, contexts]])

    def read(self, rows: Sequence[_Row], as_tree: bool = False) -> None:
        """Read ``rows``, each as a tree or as the line that it is."""
        model = self._model
        lengths = [len(self._prompts[row.chat]) + len(row.nodes) for row in rows]
        tokens = max(1, BATCH_LOGITS[model.device.type] // model.config.get_text_config().vocab_size)
        for batch in batches(lengths, tokens):
            chosen = [rows[place] for place in batch]
            given = self._input(chosen, max(lengths[place] for place in batch), as_tree)
            logits = model(**{name: tensor.to(model.device) for name, tensor in given.items()}, use_cache=False).logits
            for row, its in zip(chosen, logits, strict=True):
                start = len(self._prompts[row.chat]) - 1
                self._take(row, its[start : start + 1 + len(row.nodes)].float())

    def _input(self, rows: Sequence[_Row], length: int, as_tree: bool) -> dict[str, torch.Tensor]:
        """Rows padded on the right, where causal attention never looks; for trees with mask and positions."""
        ids = torch.zeros((len(rows), length), dtype=torch.long)
        for i, row in enumerate(rows):
            prompt = self._prompts[row.chat]
            there = prompt + [self._tree.tokens[node - 1] for node in row.nodes]
            ids[i, : len(there)] = torch.tensor(there)
        if not as_tree:
            return {"input_ids": ids}
        lines, depths = torch.from_numpy(self._tree.lines), torch.tensor(self._tree.depths[1:])
        seen = torch.ones((length, length), dtype=torch.bool).tril().repeat(len(rows), 1, 1)
        # Padding has no position of its own: a model may have none so far out.
        positions = torch.zeros((len(rows), length), dtype=torch.long)
        for i, row in enumerate(rows):
            start = len(self._prompts[row.chat])
            behind = slice(start, start + len(row.nodes))
            seen[i, behind, behind] = lines
            positions[i, :start] = torch.arange(start)
            positions[i, behind] = start + depths - 1
        hidden = torch.finfo(self._model.dtype).min
        mask = torch.zeros(seen.shape, dtype=self._model.dtype).masked_fill(~seen, hidden)
        return {"input_ids": ids, "attention_mask": mask[:, None], "position_ids": positions}

    def _take(self, row: _Row, logits: torch.Tensor) -> None:
        """Note what ``logits`` say of the contexts of ``row``: ``[contexts, vocabulary]``."""
        contexts = [0, *row.nodes]
        place = {context: i for i, context in enumerate(contexts)}
        total = logits.logsumexp(dim=-1)
        self.ends[row.chat, contexts] = (logits[:, self._end_tokens].logsumexp(dim=-1) - total).cpu().numpy()
        if row.nodes:
            parents = [place[self._tree.parents[node - 1]] for node in row.nodes]
            chosen = logits[parents, [self._tree.tokens[node - 1] for node in row.nodes]] - total[parents]
            self.nodes[row.chat, [node - 1 for node in row.nodes]] = chosen.cpu().numpy()
