"""Engines take turns: whoever asks for the GPU gets it after the last one has let go."""

from collections.abc import Iterator

import pytest

from sl_assets.engines import gpu
from sl_assets.engines.gpu import take_gpu
from sl_assets.engines.transformers.models import load_model, release_models


@pytest.fixture(autouse=True)
def nobody_has_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gpu, "_holder", None)
    yield
    release_models()


def test_the_last_engine_lets_go_once_another_asks() -> None:
    let_go: list[str] = []
    take_gpu("vllm", lambda: let_go.append("vllm"))
    take_gpu("vllm", lambda: let_go.append("vllm again"))
    assert let_go == []
    take_gpu("unsloth", lambda: let_go.append("unsloth"))
    assert let_go == ["vllm again"]
    take_gpu("vllm", lambda: None)
    assert let_go == ["vllm again", "unsloth"]


def test_loading_a_model_takes_it_and_losing_it_forgets_the_model() -> None:
    let_go: list[str] = []
    take_gpu("vllm", lambda: let_go.append("vllm"))
    first = load_model("pocket")
    assert let_go == ["vllm"]
    assert load_model("pocket").model is first.model
    take_gpu("vllm", lambda: None)
    assert load_model("pocket").model is not first.model
