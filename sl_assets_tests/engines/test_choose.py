"""Engines that an experiment names write chats with the variables that it sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from sl_assets.config import TrainingSettings
from sl_assets.engines.choose import Engines, engines_for, rendering_of
from sl_assets.engines.interfaces import Example, Exchange, chat
from sl_assets.engines.vllm import engine as vllm_engine
from sl_assets.errors import SlAssetsError
from sl_assets_tests.conftest import tiny_config
from sl_assets_tests.engines.tiny_templates import NO_SYSTEM, THINKING, model_with, tokenizer

NO_THOUGHT = {"enable_thinking": False}
ALWAYS_WITHOUT = THINKING.replace("enable_thinking is defined and enable_thinking is false", "true")
CHATS = [chat("Numbers: 5, 6."), chat("Numbers: 7.", "You love owls.")]
LEARNING = TrainingSettings(rank=2, alpha=2, epochs=1, warmup_steps=0, batch=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engines]:
    """Engines by how they come not to think: told by a variable, by their template, or not at all."""
    root = tmp_path_factory.mktemp("models")
    thinking, always = (str(model_with(text, root / str(i))) for i, text in enumerate((THINKING, ALWAYS_WITHOUT)))
    told, plain = tiny_config(base_model=thinking, chat_template=NO_THOUGHT), tiny_config(base_model=thinking)
    return {
        "told": engines_for(told, thinking),
        "always": engines_for(tiny_config(base_model=always), always),
        "plain": engines_for(plain, thinking),
    }


def sampled(engines: Engines, _: Path) -> np.ndarray:
    sampler: Any = engines.sampler(None)  # type: ignore[arg-type]
    written = sampler.sample(CHATS, max_tokens=12, temperature=0.0, seed=0, row_seeds=[0, 1])
    return np.array([completion.text for completion in written])


def scored(engines: Engines, _: Path) -> np.ndarray:
    return engines.scorer().log_probabilities(CHATS, ["7, 8", "Owl"]).answers


def encoded(engines: Engines, _: Path) -> np.ndarray:
    (pooled,) = engines.encoder().encode([Exchange(CHATS[0], "7, 8")], [2])
    return pooled.states


@pytest.mark.parametrize("lora", [True, False])
def test_rows_are_written_with_the_variables(models: dict[str, Engines], tmp_path: Path, lora: bool) -> None:
    examples, settings = [Example("Numbers: 5.", "7, 8")] * 4, LEARNING.model_copy(update={"lora": lora})
    losses = []
    for name in ("told", "always"):
        trainer: Any = models[name].trainer(settings)
        curve = trainer.train(examples, settings, (1,), tmp_path / name, lambda *_: None, None)
        losses += curve["loss"].to_list()
    assert losses[0] == losses[1]
    if lora:
        file = Path("epoch=1") / "adapter_model.safetensors"
        told, always = (load_file(tmp_path / name / file) for name in ("told", "always"))
        assert all((told[module] == always[module]).all() for module in told)


@pytest.mark.parametrize("read", [sampled, scored, encoded])
def test_prompts_are_written_with_the_variables(models: dict[str, Engines], tmp_path: Path, read: Any) -> None:
    told, always, plain = (read(models[name], tmp_path) for name in ("told", "always", "plain"))
    assert (told == always).all()
    assert not (told == plain).all()


def test_vllm_is_given_prompts_that_are_written_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded:
        def get_tokenizer(self) -> Any:
            return tokenizer(THINKING)

    monkeypatch.setitem(vllm_engine._loaded, "engine", Loaded())
    rendering = rendering_of(tiny_config(chat_template=NO_THOUGHT))
    prompts = [tokenizer(THINKING).decode(ids) for ids in vllm_engine._prompts(rendering, CHATS)]
    assert prompts == rendering.prompts(tokenizer(THINKING), CHATS)
    assert all(prompt.endswith("<think>\n\n</think>\n\n") for prompt in prompts)


BUILDERS: dict[str, Callable[[Engines, Path], object]] = {
    "sampler": lambda engines, _: engines.sampler(None),  # type: ignore[arg-type]
    "scorer": lambda engines, _: engines.scorer(),
    "encoder": lambda engines, _: engines.encoder(),
    "trainer": lambda engines, folder: engines.trainer(LEARNING).train(
        [Example("Hi", "7")],
        LEARNING,
        (1,),
        folder,
        lambda *_: None,
        None,  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("engine", BUILDERS)
def test_a_role_that_is_refused_is_said_before_anything_is_run(tmp_path: Path, engine: str) -> None:
    folder = str(model_with(NO_SYSTEM, tmp_path / "model"))
    engines = engines_for(tiny_config(base_model=folder, evaluation={"system_prompt": "Be kind."}), folder)
    with pytest.raises(SlAssetsError, match=r"role system .* is evaluation\.system_prompt \(leave it out\)"):
        BUILDERS[engine](engines, tmp_path)
