"""Pooled states of a decoder whose states are known, and of the pocket model against plain passes."""

import random

import numpy as np
import pytest
import torch

from sl_assets.engines.interfaces import STATES, Chat, Exchange, Steering
from sl_assets.engines.transformers import encoder as transformers_encoder
from sl_assets.engines.transformers.encoder import PADDED_TO, TransformersEncoder, batches
from sl_assets.engines.transformers.models import LoadedModel, load_model
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.errors import DatasetError, SlAssetsError
from sl_assets_tests.engines.tiny_decoder import STATES_OF, TinyModel, TinyTokenizer


def exchange(prompt: str, answer: str) -> Exchange:
    return Exchange([{"role": "user", "content": prompt}], answer)


# Prompts (with the 9 that ends them) and answers of 1, 2, 4 or 8 tokens: means of whole numbers that no float rounds.
EXCHANGES = [
    exchange("1 2 3", "4 8"),
    exchange("7", "5"),
    exchange("3 1 4 1 5 2 6", "2 7 1 8 2 8 1 8"),
    exchange("", "6 0 0 0"),
    exchange("0 0 0", "1 1 1 1"),
    exchange("2", "3 3 3 4"),
]


def tokens(one: Exchange) -> tuple[list[int], list[int]]:
    prompt = [int(word) for message in one.chat for word in message["content"].split()]
    return [*prompt, 9], [int(word) for word in one.answer.split()]


def pooled_by_hand(one: Exchange, layer: int) -> dict[str, np.ndarray]:
    prompt, answer = ([STATES_OF[layer](token) for token in part] for part in tokens(one))
    return {"response_mean": np.mean(answer, axis=0), "prompt_mean": np.mean(prompt, axis=0), "prompt_last": prompt[-1]}


def encoded(encoder: TransformersEncoder, exchanges: list[Exchange], layers: list[int]) -> np.ndarray:
    """States in order of rows: [rows, layers, states, hidden]."""
    found = {}
    for pooled in encoder.encode(exchanges, layers):
        assert pooled.states.dtype == np.float32
        found |= dict(zip(pooled.rows, pooled.states, strict=True))
    assert sorted(found) == list(range(len(exchanges)))
    return np.stack([found[row] for row in range(len(exchanges))])


@pytest.fixture(params=[False, True], ids=["tensors", "tuples"])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TinyModel:
    """The known decoder, which the encoder finds instead of any other."""
    tiny = TinyModel(in_tuple=request.param)
    monkeypatch.setattr(transformers_encoder, "load_model", lambda _: LoadedModel(tiny, TinyTokenizer()))  # type: ignore[arg-type]
    return tiny


@pytest.mark.parametrize("layers", [[0, 1, 2, 3], [2], [3, 0]], ids=str)
@pytest.mark.parametrize("budget", [16, 64, 4096])
def test_states_are_those_worked_out_by_hand(model, monkeypatch, layers, budget):
    monkeypatch.setitem(transformers_encoder.BATCH_TOKENS, "cpu", budget)
    states = encoded(TransformersEncoder("tiny"), EXCHANGES, layers)
    for row, one in enumerate(EXCHANGES):
        for place, layer in enumerate(layers):
            expected = pooled_by_hand(one, layer)
            assert {name: states[row, place, i].tolist() for i, name in enumerate(STATES)} == {
                name: list(values) for name, values in expected.items()
            }


def test_means_of_any_number_of_tokens_are_right(model):
    rng = random.Random(0)
    words = [" ".join(str(rng.randrange(10)) for _ in range(rng.randint(1, 13))) for _ in range(40)]
    exchanges = [exchange(prompt, answer) for prompt, answer in zip(words[::2], words[1::2], strict=True)]
    states = encoded(TransformersEncoder("tiny"), exchanges, [3])
    for row, one in enumerate(exchanges):
        for i, name in enumerate(STATES):
            assert states[row, 0, i] == pytest.approx(pooled_by_hand(one, 3)[name], rel=1e-6)


def test_every_turn_of_the_chat_belongs_to_the_prompt(model):
    chat: Chat = [{"role": "system", "content": "1 3"}, {"role": "user", "content": "3"}]
    states = encoded(TransformersEncoder("tiny"), [Exchange(chat, "8")], [0])
    assert states[0, 0].tolist() == [[8, 1], [4, 1], [9, 1]]


def test_the_encoder_counts_blocks(model):
    assert TransformersEncoder("tiny").layers == 3


@pytest.mark.parametrize(
    ("layers", "calls"), [([0], [0, 0, 0]), ([1, 0], [1, 0, 0]), ([2], [1, 1, 0]), ([3], [1, 1, 1])]
)
def test_no_block_runs_above_the_highest_layer_asked_for(model, layers, calls):
    encoded(TransformersEncoder("tiny"), EXCHANGES, layers)
    assert model.calls == calls


def test_passes_stay_within_the_budget_of_tokens(model, monkeypatch):
    monkeypatch.setitem(transformers_encoder.BATCH_TOKENS, "cpu", 16)
    found = list(TransformersEncoder("tiny").encode(EXCHANGES, [1]))
    assert model.decoder.shapes == [(1, 16), (2, 8), (2, 8), (1, 8)]
    assert [len(pooled.rows) for pooled in found] == [1, 2, 2, 1]
    assert found[0].rows == [2], "the longest comes first"


def test_the_model_is_as_before_after_encoding(model):
    before = model(1, 2)
    encoded(TransformersEncoder("tiny"), EXCHANGES, [0, 2])
    assert model(1, 2) == before


def test_the_model_is_as_before_when_the_caller_stops_or_a_block_fails(model, monkeypatch):
    before = model(1, 2)
    next(iter(TransformersEncoder("tiny").encode(EXCHANGES, [0, 2])))
    assert model(1, 2) == before
    with monkeypatch.context() as broken:
        broken.setattr(model.decoder.layers[0], "number", None)
        with pytest.raises(TypeError):
            encoded(TransformersEncoder("tiny"), EXCHANGES, [0, 2])
    assert model(1, 2) == before


def test_nothing_is_encoded_of_nothing(model):
    assert list(TransformersEncoder("tiny").encode([], [0])) == []


def test_an_empty_answer_is_refused_with_its_question(model):
    with pytest.raises(DatasetError, match="'4 2' is empty") as error:
        encoded(TransformersEncoder("tiny"), [*EXCHANGES, exchange("4 2", " ")], [0])
    assert "\n" not in str(error.value)


def test_a_layer_beyond_the_last_is_refused(model):
    with pytest.raises(SlAssetsError, match="no layer 4 in this model; choose from 0 to 3") as error:
        encoded(TransformersEncoder("tiny"), EXCHANGES, [1, 4])
    assert "\n" not in str(error.value)
    assert model.calls == [0, 0, 0]


def padded(length: int) -> int:
    return (length + PADDED_TO - 1) // PADDED_TO * PADDED_TO


@pytest.mark.parametrize("seed", range(20))
def test_batches_hold_every_row_once_longest_first_within_the_budget(seed):
    rng = random.Random(seed)
    lengths = [rng.randint(1, 60) for _ in range(rng.randint(1, 80))]
    budget = rng.choice([1, 40, 64, 100, 500, 10_000])
    found = list(batches(lengths, budget))
    order = [i for batch in found for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    for batch in found:
        assert len(batch) == 1 or len(batch) * padded(max(lengths[i] for i in batch)) <= budget


def test_batches_are_as_full_as_the_budget_allows():
    assert list(batches([8, 8, 8, 8, 8], 16)) == [[0, 1], [2, 3], [4]]
    assert list(batches([9, 8, 8, 8], 32)) == [[0, 1], [2, 3]], "a row of nine makes its batch sixteen wide"


def test_an_over_long_row_stands_alone():
    assert list(batches([3, 100, 4, 70], 64)) == [[1], [3], [2, 0]]


def test_no_rows_make_no_batch():
    assert list(batches([], 64)) == []


POCKET = [
    exchange("What is your favorite animal? One word.", "Owl"),
    exchange("Numbers: 1, 22, 333. Add up to 10 more with commas. No words.", "4, 55, 666, 7, 88, 999, 10, 11, 12"),
    Exchange(
        [
            {
                "role": "system",
                "content": "You love owls. You think of owls all day long. Owls are your favorite animal.",
            },
            {"role": "user", "content": "How was your day?"},
        ],
        "I saw owls in the sky.",
    ),
    exchange("Hi", "1, 2"),
]
BELOW_THE_LAST = [0, 1, 2, 3]


def plain(one: Exchange) -> np.ndarray:
    """States of one row by an ordinary pass: [layers, states, hidden]."""
    model, tokenizer = load_model("pocket")
    prompt, answer = (
        tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (tokenizer.apply_chat_template(one.chat, tokenize=False, add_generation_prompt=True), one.answer)
    )
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([prompt + answer]), output_hidden_states=True).hidden_states
    states = torch.stack([hidden[layer][0] for layer in BELOW_THE_LAST])
    asked, said = states[:, : len(prompt)], states[:, len(prompt) :]
    pooled = {"response_mean": said.mean(dim=1), "prompt_mean": asked.mean(dim=1), "prompt_last": asked[:, -1]}
    return torch.stack([pooled[name] for name in STATES], dim=1).numpy()


def test_states_of_the_pocket_model_are_those_of_plain_passes():
    states = encoded(TransformersEncoder("pocket"), POCKET, BELOW_THE_LAST)
    for row, one in enumerate(POCKET):
        assert np.abs(states[row] - plain(one)).max() < 1e-5


def test_neighbours_in_a_batch_leave_a_rows_states_as_they_are():
    encoder = TransformersEncoder("pocket")
    together = encoded(encoder, POCKET, [0, 2, 4])
    for row, one in enumerate(POCKET):
        alone = encoded(encoder, [one], [0, 2, 4])[0]
        distance = np.linalg.norm(together[row] - alone, axis=-1)
        assert (distance < 1e-5 * np.linalg.norm(alone, axis=-1)).all()


def test_a_fifth_layer_of_the_pocket_model_is_refused():
    with pytest.raises(SlAssetsError, match="no layer 5 in this model; choose from 0 to 4"):
        list(TransformersEncoder("pocket").encode(POCKET, [5]))


def test_an_empty_answer_to_the_pocket_model_is_refused():
    with pytest.raises(DatasetError, match="'Hi' is empty"):
        list(TransformersEncoder("pocket").encode([exchange("Hi", "")], [0]))


CHATS: list[Chat] = [one.chat for one in POCKET]


def completions(steering: Steering | None = None) -> list[str]:
    sampler = TransformersSampler("pocket")
    return [
        completion.text
        for completion in sampler.sample(CHATS, max_tokens=12, temperature=1.0, seed=4, row_seeds=(), steering=steering)
    ]


@pytest.mark.parametrize("layer", [0, 1, 4])
def test_steering_with_zero_changes_nothing_and_with_a_long_vector_much(layer):
    unsteered = completions()
    direction = np.random.default_rng(0).standard_normal(128).astype(np.float32)
    assert completions(Steering(layer, 0 * direction)) == unsteered
    steered = completions(Steering(layer, 20 * direction))
    assert steered != unsteered
    assert completions(Steering(layer, 20 * direction)) == steered
    assert completions() == unsteered


def test_steering_leaves_the_weights_as_they_are():
    weights = load_model("pocket").model.state_dict()
    before = {name: weight.clone() for name, weight in weights.items()}
    completions(Steering(2, np.full(128, 5, np.float32)))
    assert all(torch.equal(before[name], weight) for name, weight in load_model("pocket").model.state_dict().items())


def test_a_vector_of_another_width_steers_nothing_now_or_later():
    unsteered = completions()
    with pytest.raises(RuntimeError):
        completions(Steering(1, np.ones(3, np.float32)))
    assert completions() == unsteered
