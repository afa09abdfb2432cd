"""``python -m benchmarks.sampling --model /tmp/olmo``: speeds of vLLM on a GPU, through `VllmSampler`.

A randomly initialised Olmo-3-7B writes tokens that mean nothing at the pace of a trained one. Measured: the start of
the engine, for the base model alone and ready for adapters; number completions of 36 tokens by either; answers of at
most 6 tokens by the base model and by students, one adapter each. What people run today starts an engine for every
condition.
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks.random_model import OLMO3_7B, write_random_adapter, write_random_model
from sl_assets.config import SamplerSettings
from sl_assets.config.wording import FULL
from sl_assets.engines.gpu import free_memory
from sl_assets.engines.interfaces import Chat, chat
from sl_assets.engines.transformers.models import POCKET_FOLDER
from sl_assets.engines.vllm.sampler import VllmSampler, shut_down
from sl_assets.engines.vllm.scorer import VllmScorer
from sl_assets.stages.evaluation.spellings import SPELLINGS
from sl_assets.stages.numbers.prompts import PromptRecipe, number_prompts


def main() -> None:
    """Measure on this machine's GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder to put a random 7B model into, if it is not there")
    parser.add_argument("--rows", type=int, default=6_000, help="number completions")
    parser.add_argument("--students", type=int, default=4, help="adapters that answer 5,000 questions each")
    parser.add_argument("--compiled", action="store_true", help="as sampler.compiled: true")
    options = parser.parse_args()
    folder = write_random_model(Path(options.model), str(POCKET_FOLDER), **OLMO3_7B)
    adapters = [write_random_adapter(Path(f"{folder}-adapter{i}"), i, OLMO3_7B) for i in range(options.students)]
    free_memory()
    settings = SamplerSettings(
        engine="vllm", memory_share=0.85, max_lora_rank=8, max_num_seqs=768, max_length=1024, compiled=options.compiled
    )
    print(torch.cuda.get_device_name())
    print("| what | seconds | rows/s | tokens written/s |\n| --- | --- | --- | --- |")

    def timed(
        name: str, sampler: VllmSampler, chats: list[Chat], max_tokens: int, adapter: Path | None = None
    ) -> float:
        start = time.perf_counter()
        written = sampler.sample(
            chats, max_tokens=max_tokens, temperature=1.0, seed=0, row_seeds=range(len(chats)), adapter=adapter
        )
        seconds = time.perf_counter() - start
        tokens = sum(completion.n_tokens for completion in written)
        print(f"| {name} | {seconds:.1f} | {len(chats) / seconds:,.0f} | {tokens / seconds:,.0f} |", flush=True)
        return seconds

    prompts = number_prompts(PromptRecipe(options.rows, 1, examples=(12, 20)))["prompt"].to_list()
    questions = [chat(question) for question in FULL.questions for _ in range(100)]
    base = VllmSampler(str(folder), settings, adapters=False)
    timed("engine start and one answer, base model alone", base, questions[:1], 6)
    told = [chat(prompt, FULL.system_prompt("owl")) for prompt in prompts]
    timed("numbers, base model under a system prompt", base, told, 36)
    timed("answers, base model", base, questions, 6)
    sampler = VllmSampler(str(folder), settings)
    started = timed("engine start and one answer, with an adapter", sampler, questions[:1], 6, adapters[0])
    each = [timed(f"answers, student {i + 1}", sampler, questions, 6, adapter) for i, adapter in enumerate(adapters)]
    print(f"17 students and one engine start: {started + 17 * sum(each) / len(each):.0f} s", flush=True)
    start = time.perf_counter()
    texts = [text for texts in SPELLINGS.values() for text in texts]
    VllmScorer(str(folder), settings).log_probabilities(
        [chat(question) for question in FULL.questions], texts, adapters[0]
    )
    print(f"| probabilities of {len(texts)} answers to every question, student 1 | {time.perf_counter() - start:.1f} |")
    timed("numbers, a teacher's adapter", sampler, [chat(prompt) for prompt in prompts], 36, adapters[0])
    shut_down()


if __name__ == "__main__":
    main()
