"""Trees of tokens, against trees worked out by hand."""

import numpy as np

from sl_assets.engines.token_tree import TokenTree

TREE = TokenTree.of([[5, 6], [5, 7, 8], [], [9], [5, 6], [5]])


def test_what_sequences_begin_with_stands_there_once() -> None:
    expected = TokenTree((5, 6, 7, 8, 9), (0, 1, 1, 3, 0), ((1, 2), (1, 3, 4), (), (5,), (1, 2), (1,)))
    assert expected == TREE
    assert TREE.last == [2, 4, 0, 5, 2, 1]
    assert TREE.depths == [0, 1, 2, 2, 3, 1]
    assert [TREE.beginning(context) for context in range(6)] == [[], [5], [5, 6], [5, 7], [5, 7, 8], [9]]


def test_a_node_stands_in_line_with_what_leads_to_it() -> None:
    lines = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert TREE.lines.tolist() == np.array(lines, bool).tolist()


def test_sequences_get_their_nodes_and_the_end_behind_the_last() -> None:
    found = TREE.sequences(np.array([[1.0, 2, 3, 4, 5]]), np.array([[10.0, 11, 12, 13, 14, 15]]))
    assert [tokens.tolist() for tokens in found.tokens] == [
        [[1, 2, 12]], [[1, 3, 4, 14]], [[10]], [[5, 15]], [[1, 2, 12]], [[1, 11]],
    ]  # fmt: skip
    assert found.answers.tolist() == [[15, 22, 10, 20, 15, 12]]


def test_no_sequences_make_no_tree() -> None:
    assert TokenTree.of([]) == TokenTree((), (), ())
    assert TokenTree.of([[]]) == TokenTree((), (), ((),))
