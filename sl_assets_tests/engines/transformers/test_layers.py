"""Layers by number, on a decoder whose states are known."""

from contextlib import suppress

import pytest
import torch

from sl_assets.engines.transformers.layers import HighestLayerReached, adding, blocks_of, reading
from sl_assets.engines.transformers.models import load_model
from sl_assets_tests.engines.tiny_decoder import STATES_OF, TinyModel

TOKENS = (5, 0, 3)
VECTOR = torch.tensor([100.0, 10.0])


@pytest.fixture(params=[False, True], ids=["tensors", "tuples"])
def model(request: pytest.FixtureRequest) -> TinyModel:
    return TinyModel(in_tuple=request.param)


def untouched(model: TinyModel) -> bool:
    """Whether a pass runs to its end and gives what it gave before any hook."""
    return model(*TOKENS) == [[-1000 * number for number in STATES_OF[3](token)] for token in TOKENS]


def read(model: TinyModel, layers: list[int]) -> dict[int, list[list[float]]]:
    """States of `TOKENS` by layer."""
    states: dict[int, list[list[float]]] = {}

    def keep(layer: int, hidden: torch.Tensor) -> None:
        assert layer not in states, "each layer is read once"
        states[layer] = hidden[0].tolist()

    with reading(model, layers, keep), suppress(HighestLayerReached):
        model(*TOKENS)
    return states


def test_blocks_are_the_decoders(model):
    assert blocks_of(model) is model.decoder.layers


@pytest.mark.parametrize("layers", [[0], [1], [2], [3], [0, 3], [2, 1], [0, 1, 2, 3], [3, 1, 1]], ids=str)
def test_layer_0_is_what_enters_the_first_block_and_n_what_leaves_the_nth(model, layers):
    assert read(model, layers) == {layer: [STATES_OF[layer](token) for token in TOKENS] for layer in set(layers)}


@pytest.mark.parametrize(("layers", "calls"), [([0], [0, 0, 0]), ([2, 0], [1, 1, 0]), ([1], [1, 0, 0]), ([3], [1] * 3)])
def test_a_pass_ends_with_the_highest_layer(model, layers, calls):
    read(model, layers)
    assert model.calls == calls


def test_the_end_of_a_pass_is_told():
    model = TinyModel()
    with reading(model, [1], lambda *_: None), pytest.raises(HighestLayerReached):
        model(*TOKENS)


def test_nothing_is_read_after_the_block(model):
    read(model, [0, 2])
    assert untouched(model)


def test_nothing_is_read_after_an_error(model):
    def fail(layer: int, hidden: torch.Tensor) -> None:
        raise ValueError

    with pytest.raises(ValueError), reading(model, [0, 2], fail):  # noqa: PT011
        model(*TOKENS)
    assert untouched(model)


def plus(states: list[list[float]], factor: float) -> list[list[float]]:
    return [[first + 100 * factor, second + 10 * factor] for first, second in states]


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_vector_added_to_a_layer_doubles_with_every_block_above(model, layer):
    before = [[-number / 1000 for number in state] for state in model(*TOKENS)]
    with adding(model, layer, VECTOR):
        after = [[-number / 1000 for number in state] for state in model(*TOKENS)]
    assert after == plus(before, 2 ** (3 - layer))
    assert untouched(model)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_vector_added_to_a_layer_changes_no_layer_below(model, layer):
    with adding(model, layer, VECTOR):
        model(*TOKENS)
    for below, block in enumerate(model.decoder.layers):
        states = [STATES_OF[below](token) for token in TOKENS]
        expected = plus(states, 2 ** (below - layer)) if below >= layer else states
        assert block.entered[0][0].tolist() == expected


def test_adding_to_layer_0_does_not_wrap_round_to_the_last_block():
    model = TinyModel()
    left: list[torch.Tensor] = []
    last = model.decoder.layers[-1]
    last.register_forward_hook(lambda block, inputs, output: left.append(output - 2 * inputs[0]))
    with adding(model, 0, VECTOR):
        model(*TOKENS)
    assert left[0].unique().tolist() == [3], "the last block adds its own number and nothing else"


def test_every_pass_has_the_vector_added_once(model):
    with adding(model, 1, VECTOR):
        first, second = model(*TOKENS), model(*TOKENS)
    assert first == second != model(*TOKENS)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_vector_may_be_added_to_the_last_position_alone(model, layer):
    with adding(model, layer, VECTOR, last=True):
        states = read(model, [layer])
    known = [STATES_OF[layer](token) for token in TOKENS]
    assert states == {layer: [*known[:-1], *plus(known[-1:], 1)]}


def test_a_vector_takes_the_type_of_the_states():
    model = TinyModel()
    with adding(model, 2, VECTOR.double()):
        model(*TOKENS)
    assert model.decoder.layers[2].entered[0].dtype == torch.float32


def test_nothing_is_added_after_an_error(model):
    with pytest.raises(RuntimeError), adding(model, 0, VECTOR), adding(model, 3, torch.ones(7)):
        model(*TOKENS)
    assert untouched(model)


def test_what_is_added_is_read(model):
    with adding(model, 2, VECTOR):
        states = read(model, [1, 2, 3])
    known = {layer: [STATES_OF[layer](token) for token in TOKENS] for layer in (1, 2, 3)}
    assert states == {1: known[1], 2: plus(known[2], 1), 3: plus(known[3], 2)}


def test_layers_of_the_pocket_model_are_those_that_transformers_numbers():
    model = load_model("pocket").model
    ids = torch.tensor([[5, 17, 300, 4]])
    states: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        whole = model(input_ids=ids, output_hidden_states=True, use_cache=False)
        with reading(model, range(5), states.__setitem__), suppress(HighestLayerReached):
            model(input_ids=ids, use_cache=False)
        normed = model.get_decoder().norm(states[4])
    for layer in range(4):
        assert torch.equal(states[layer], whole.hidden_states[layer])
    assert torch.equal(normed, whole.hidden_states[4])
