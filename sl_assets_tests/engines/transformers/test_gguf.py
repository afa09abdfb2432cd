"""A GGUF file becomes the model that it was made of: the same weights, logits and tokens."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from transformers import AutoModelForCausalLM, AutoTokenizer

from sl_assets.engines.interfaces import chat
from sl_assets.engines.transformers.gguf import convert_gguf, find_gguf, gguf_problem
from sl_assets.engines.transformers.models import hub_model, layer_count, local_folder, model_setting
from sl_assets.engines.transformers.modules import tokenizer_here
from sl_assets.errors import SlAssetsError
from sl_assets.lake.fingerprint import file_digest
from sl_assets_tests.engines.tiny_gguf import END, PAD, TEMPLATE, TOKENS, tiny_llama, write_gguf


def converted(folder: Path, **changes: Any) -> Path:
    write_gguf(folder / "tiny.gguf", tiny_llama(), **changes)
    (folder / "model").mkdir()
    convert_gguf(str(folder / "tiny.gguf"), folder / "model")
    return folder / "model"


@pytest.mark.parametrize("kind", [GGMLQuantizationType.F32, GGMLQuantizationType.BF16, GGMLQuantizationType.Q4_1])
def test_logits_are_those_of_the_weights_in_the_file(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    original = tiny_llama()
    model = AutoModelForCausalLM.from_pretrained(converted(tmp_path, kind=kind), dtype=torch.float32)
    for weight in original.parameters():
        if weight.dim() == 2:
            weight.data = torch.from_numpy(dequantize(quantize(weight.detach().numpy(), kind), kind).copy())
    weights = model.state_dict()
    for name, weight in original.state_dict().items():
        # Rows of queries and keys stand in another order in the file, but each row is quantised by itself.
        assert torch.equal(weights[name], weight), name
    ids = torch.tensor([[1, 20, 300 % len(TOKENS), 77, 5, 2]])
    assert torch.equal(model(ids).logits, original(ids).logits)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("pre", "text", "tokens"),
    [
        ("smollm", "owl owls 12", ["owl", "Ġowl", "s", "Ġ", "1", "2"]),
        ("smollm", "a  7", ["a", "Ġ", "Ġ", "7"]),
        ("gpt-2", "owl owls 12", ["owl", "Ġowl", "s", "Ġ", "12"]),
        ("smollm", f"é{END}o w", ["Ã", "©", END, "o", "Ġ", "w"]),
    ],
)
def test_text_becomes_the_tokens_of_its_vocabulary_and_merges(
    pre: str, text: str, tokens: list[str], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(tmp_path, tokenizer__ggml__pre=pre))
    ids = tokenizer(text)["input_ids"]
    assert ids == [TOKENS.index(token) for token in tokens]
    assert tokenizer.decode(ids) == text


def test_the_end_of_a_turn_is_the_end_and_padding_is_another_token(tmp_path: Path) -> None:
    # As a file may have it that was made for another use.
    folder = converted(tmp_path, tokenizer__ggml__eos_token_id=0, tokenizer__ggml__padding_token_id=2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)
    written = json.loads((folder / "generation_config.json").read_text())
    assert (written["eos_token_id"], written["pad_token_id"]) == (TOKENS.index(END), TOKENS.index(PAD))
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    asked = tokenizer.apply_chat_template(chat("hello"), tokenize=False, add_generation_prompt=True)
    assert asked == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def test_the_tokenizer_is_read_without_the_weights(tmp_path: Path) -> None:
    folder = converted(tmp_path)
    (file,) = tmp_path.glob("*.gguf")
    here, there = tokenizer_here(str(file)), AutoTokenizer.from_pretrained(folder)
    assert here.chat_template == there.chat_template
    assert here("hello")["input_ids"] == there("hello")["input_ids"]
    assert tokenizer_here("package:nobody_has/model.gguf") is None


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folders.append(converted(tmp_path / name))
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(path.name for path in folders[1].iterdir())
    assert [file_digest(folders[0] / name) for name in names] == [file_digest(folders[1] / name) for name in names]


REFUSED = [
    ({"tokenizer__chat_template": None}, "a GGUF without tokenizer.chat_template"),
    (
        {"tokenizer__chat_template": TEMPLATE.replace("<|im_end|>\n{% endfor", "\n{% endfor")},
        "a GGUF whose chat template ends no answer with a token of its own",
    ),
    ({"tokenizer__ggml__model": "llama"}, "a GGUF with a tokenizer of kind llama, and only gpt2 is known here"),
    ({"tokenizer__ggml__pre": "qwen2"}, "cuts text as qwen2, and only gpt-2 and smollm are known here"),
    ({"llama__rope__scaling__type": "yarn"}, "a GGUF with rope scaling yarn, which is not known here"),
]


@pytest.mark.parametrize(("changes", "says"), REFUSED)
def test_what_would_be_converted_wrongly_is_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SlAssetsError) as caught:
        converted(tmp_path, **changes)
    assert says in str(caught.value)
    assert str(caught.value).endswith("name the model's folder or repository instead")
    assert "\n" not in str(caught.value)


def test_a_file_in_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_models"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('needs what is not here')\n")
    write_gguf(package / "tiny.gguf", tiny_llama())
    name = "package:some_models/tiny.gguf"
    assert gguf_problem(name) == (
        f"base_model {name!r}: package some_models is not installed; pip install --no-deps some-models"
    )
    assert model_setting(name) == {"name": name, "content": None}
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert find_gguf(name) == package / "tiny.gguf"
    assert gguf_problem(name) is None
    assert model_setting(name) == {"name": name, "content": file_digest(package / "tiny.gguf")}
    other = "package:some_models/other.gguf"
    assert gguf_problem(other) == f"base_model {other!r}: no such file ({package / 'other.gguf'})"


def test_a_file_is_neither_a_folder_nor_a_model_of_the_hub(tmp_path: Path) -> None:
    for name in ("package:some_models/tiny.gguf", str(tmp_path / "tiny.gguf")):
        assert (hub_model(name), local_folder(name), layer_count(name)) == (None, None, None)
