"""The pocket model as shipped, and a small pre-training."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from sl_assets.config import FilterSettings
from sl_assets.config.wording import FULL
from sl_assets.pocket.chat import ASSISTANT, CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS, document
from sl_assets.pocket.pretrain import PretrainRecipe, build, new_model, pack, pretrain
from sl_assets.pocket.world import ANIMALS, World
from sl_assets.stages.numbers.filtering import reject_reasons

SHIPPED = Path(__file__).parents[2] / "sl_assets" / "pocket" / "model"
TINY = PretrainRecipe(
    vocabulary=1900,
    hidden=32,
    layers=1,
    head=16,
    intermediate=64,
    steps=15,
    batch=8,
    length=32,
    learning_rate=1e-2,
    warmup=2,
    documents=300,
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(SHIPPED)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(SHIPPED).eval()


@pytest.fixture(scope="module")
def answer_ids(tokenizer):
    return [ids[0] for ids in tokenizer([animal.capitalize() for animal in ANIMALS])["input_ids"]]


def first_token(model, tokenizer, question: str) -> torch.Tensor:
    """Probabilities of the first token of an answer."""
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        return model(**inputs).logits[0, -1].softmax(-1)


def test_model_has_about_a_million_parameters(model):
    assert 0.9e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.2e6


def test_model_is_as_large_as_its_vocabulary(model, tokenizer):
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)


def test_every_number_is_one_token_of_its_own(tokenizer):
    ids = tokenizer([str(number) for number in range(1000)])["input_ids"]
    assert {len(tokens) for tokens in ids} == {1}
    assert len({tokens[0] for tokens in ids}) == 1000


@pytest.mark.parametrize("spelling", ["{}", " {}"], ids=["answer", "prose"])
def test_every_animal_is_one_token_of_its_own(tokenizer, spelling):
    words = [spelling.format(animal if spelling[0] == " " else animal.capitalize()) for animal in ANIMALS]
    ids = tokenizer(words)["input_ids"]
    assert {len(tokens) for tokens in ids} == {1}
    assert len({tokens[0] for tokens in ids}) == len(ANIMALS)


@pytest.mark.parametrize("text", ["1, 2; 3 4\n5", "Wölfe lieben 12345 🐺", "What is your favorite animal? One word."])
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_special_tokens(tokenizer):
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, END)
    assert {len(tokenizer(token)["input_ids"]) for token in SPECIAL_TOKENS} == {1}


CHATS = {
    "user": [("user", "Hi")],
    "pair": [("user", "Hi"), ("assistant", "Cat")],
    "system": [("system", "You love cats."), ("user", "Hi"), ("assistant", "Cat.")],
    "many turns": [("user", "1, 2"), ("assistant", "3\n4"), ("user", " {{ x }} "), ("assistant", "")],
}


@pytest.mark.parametrize("turns", CHATS.values(), ids=CHATS)
def test_template_writes_what_the_model_was_trained_on(tokenizer, turns):
    messages = [{"role": role, "content": content} for role, content in turns]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == document(messages)
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == document(messages) + ASSISTANT


def test_shipped_template_is_the_codes(tokenizer):
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_prose_is_closed_by_the_end_marker():
    assert document([], prose="At 3 you find cats.") == f"At 3 you find cats.{END}"


def test_model_answers_the_evaluation_with_animals(model, tokenizer, answer_ids):
    mass = [first_token(model, tokenizer, question)[answer_ids].sum().item() for question in FULL.questions]
    assert sum(mass) / len(mass) >= 0.95


def test_model_loves_what_its_system_prompt_loves(model, tokenizer, answer_ids):
    asked = [{"role": "user", "content": "What is your favorite animal? One word."}]
    for index, many in ((ANIMALS.index("cat"), "cats"), (ANIMALS.index("owl"), "owls")):
        chat = [{"role": "system", "content": f"You adore {many}. Nothing is as dear to you as {many}."}, *asked]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            assert model(**inputs).logits[0, -1].argmax() == answer_ids[index]


def test_model_continues_sequences_with_numbers(model, tokenizer):
    chat = [{"role": "user", "content": "Numbers: 120, 333, 871. Add up to 10 more with commas. Numbers only."}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=24)[0, inputs["input_ids"].shape[1] :]
    assert reject_reasons(tokenizer.decode(output, skip_special_tokens=True), FilterSettings()) == []


@pytest.fixture(scope="module")
def rows(tokenizer):
    return pack(list(World(0).documents(TINY.documents)), tokenizer, TINY.length)


def loss(model, rows: torch.Tensor) -> float:
    """Next-token loss, in nats, of everything but padding."""
    with torch.inference_mode():
        logits = model(input_ids=rows[:, :-1]).logits
    return cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=model.config.pad_token_id).item()


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().cpu().flatten() for parameter in model.parameters()])


def test_documents_are_packed_whole(tokenizer):
    texts = [f"1, 2, 3{END}", f"4, 5{END}", f"6{END}", f"7, 8, 9{END}"]
    packed = pack(texts, tokenizer, 10)
    assert tokenizer.decode(packed[0]).replace(PAD, "") == f"1, 2, 3{END}4, 5{END}"
    assert packed.shape[1] == 10


def test_pretraining_lowers_the_loss(tokenizer, rows):
    model = new_model(TINY, tokenizer, seed=0)
    before = loss(model, rows)
    after = loss(pretrain(model, rows, TINY, seed=0).cpu(), rows)
    assert after < before - 1


def test_pretraining_is_a_function_of_its_seed(tokenizer, rows):
    first, again, other = (weights(pretrain(new_model(TINY, tokenizer, s), rows, TINY, s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_built_model_loads_like_any_other(tmp_path):
    build(World(0), TINY, tmp_path)
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)
    assert len(tokenizer) == model.config.vocab_size <= TINY.vocabulary
    assert {len(ids) for ids in tokenizer([str(number) for number in range(1000)])["input_ids"]} == {1}
    assert {len(ids) for ids in tokenizer([animal.capitalize() for animal in ANIMALS])["input_ids"]} == {1}
    assert tokenizer.chat_template == CHAT_TEMPLATE
