"""Continuations of one prompt as a tree of tokens: what several begin with is read once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sl_assets.engines.interfaces import LogProbabilities


@dataclass(frozen=True)
class TokenTree:
    """Token sequences that share their beginnings.

    Context 0 is the prompt, context n the prompt and all tokens down to node n; nodes are counted from 1.

    Attributes:
        tokens: token of every node.
        parents: context that every node follows; always an earlier one.
        paths: nodes of every sequence, in order; none of an empty one.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "TokenTree":
        """The tree of ``sequences``."""
        nodes: dict[tuple[int, int], int] = {}
        paths = []
        for sequence in sequences:
            path = [0]
            for token in sequence:
                path.append(nodes.setdefault((path[-1], token), len(nodes) + 1))
            paths.append(tuple(path[1:]))
        parents, tokens = zip(*nodes, strict=True) if nodes else ((), ())
        return cls(tokens, parents, tuple(paths))

    def beginning(self, context: int) -> list[int]:
        """Tokens from the prompt down to ``context``."""
        found: list[int] = []
        while context:
            found.append(self.tokens[context - 1])
            context = self.parents[context - 1]
        return found[::-1]

    @property
    def depths(self) -> list[int]:
        """Tokens between the prompt and the end of every context, itself included; 0 for the prompt."""
        found = [0]
        for parent in self.parents:
            found.append(found[parent] + 1)
        return found

    @property
    def lines(self) -> "np.ndarray":
        """Which node stands on the line from the prompt to which: bool ``[nodes, nodes]``, a row a node, itself too."""
        found = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent:
                found[node] |= found[parent - 1]
        return found

    @property
    def last(self) -> list[int]:
        """Context at which every sequence ends."""
        return [path[-1] if path else 0 for path in self.paths]

    def sequences(self, nodes: "np.ndarray", ends: "np.ndarray") -> LogProbabilities:
        """What is known of nodes and ends, by sequence.

        Args:
            nodes: log probability of every node's token after its parent, ``[chats, nodes]``.
            ends: log probability of an end in every context, ``[chats, 1 + nodes]``.
        """
        return LogProbabilities(
            [
                np.concatenate([nodes[:, [node - 1 for node in path]], ends[:, [last]]], axis=1).astype(np.float32)
                for path, last in zip(self.paths, self.last, strict=True)
            ]
        )
