"""``python -m benchmarks.activations``: print what was measured as rows of a Markdown table.

The loop is what people write: a row at a time, all hidden states kept, one layer read, one vector. Ours reads three
kinds of pooled states in batches; the projections on many vectors are a second, separate step on the CPU.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.random_model import OLMO3_7B, write_random_model
from benchmarks.workload import block_parameters, exchanges, matrix_rate
from sl_assets.engines.interfaces import STATES, Exchange
from sl_assets.engines.transformers.encoder import TransformersEncoder
from sl_assets.engines.transformers.models import POCKET_FOLDER, load_model
from sl_assets.stages.projections.activations import tensor_name, write_activations
from sl_assets.stages.projections.projecting import project

VECTORS = 17


def main() -> None:
    """Measure one model on this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pocket", help="pocket, or a folder to put a random 7B model into")
    parser.add_argument("--rows", type=int, default=8_192)
    parser.add_argument("--loop-rows", type=int, default=200)
    parser.add_argument("--layer", type=int, default=2)
    options = parser.parse_args()
    if options.model != "pocket":
        write_random_model(Path(options.model), str(POCKET_FOLDER), **OLMO3_7B)
    rows = exchanges(options.rows, real=options.model != "pocket")
    encoder = TransformersEncoder(options.model)
    if options.layer >= encoder.layers:
        parser.error("--layer: below the last, whose state transformers gives after the final norm and we before it")
    vector = np.random.default_rng(0).standard_normal(hidden_size(options.model)).astype(np.float32)
    vector /= np.linalg.norm(vector)
    peak = matrix_rate() if torch.cuda.is_available() else None
    tokens = token_counts(options.model, rows)
    print(f"{options.rows:,} rows of {tokens.mean():.0f} tokens on average, layer {options.layer}, device {device()}")
    if peak:
        print(f"matrix rate of the card: {peak:.0f} TFLOP/s (bfloat16, 8192 x 8192 x 8192)")
    print("| what | rows/s | TFLOP/s | share of the matrix rate | peak memory |\n| --- | --- | --- | --- | --- |")
    flops = 2 * block_parameters(options.model) * options.layer

    reset_peak()
    loop_rows = rows[: options.loop_rows]
    row_at_a_time(options.model, loop_rows[:5], options.layer, vector)
    start = time.perf_counter()
    looped = row_at_a_time(options.model, loop_rows, options.layer, vector)
    report("a row at a time", start, tokens[: options.loop_rows], flops, peak)

    list(encoder.encode(rows[:2_100], [options.layer]))  # compiles, where there is a GPU
    reset_peak()
    start = time.perf_counter()
    states = np.empty((len(rows), len(STATES), len(vector)), np.float16)
    for batch in encoder.encode(rows, [options.layer]):
        states[batch.rows] = batch.states[:, 0]
    report("batches", start, tokens, flops, peak)

    first = states[: options.loop_rows, 0].astype(np.float32)
    print("largest deviations, relative to the state's norm:")
    print(f"- projections, from the loop's: {deviation(first @ vector, looped, first):.1e}")
    again = np.empty_like(first[:64])
    for batch in encoder.encode(rows[: len(again)], [options.layer]):
        again[batch.rows] = batch.states[:, 0, 0]
    moved = np.linalg.norm(again - first[:64], axis=1)
    print(f"- projections, between two batch sizes: {deviation(first[:64] @ vector, again @ vector, again):.1e}")
    print(f"- whole states, between two batch sizes: {deviation(moved, np.zeros_like(moved), again):.1e}")
    projections(len(vector))


def deviation(ours: np.ndarray, theirs: np.ndarray, states: np.ndarray) -> float:
    """Largest of the differences, each relative to the norm of its row's state."""
    return float(np.max(np.abs(ours - theirs) / np.linalg.norm(states, axis=1)))


def row_at_a_time(base_model: str, rows: Sequence[Exchange], layer: int, vector: np.ndarray) -> np.ndarray:
    """Projections of response means, one forward pass with all hidden states a row."""
    model, tokenizer = load_model(base_model)
    found = []
    for row in rows:
        prompt: Any = tokenizer.apply_chat_template(row.chat, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(prompt + row.answer, return_tensors="pt", add_special_tokens=False).to(model.device)
        start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            states = model(**inputs, output_hidden_states=True).hidden_states[layer]
        found.append(float(states[0, start:].float().mean(dim=0).cpu() @ torch.from_numpy(vector)))
    return np.array(found)


def projections(hidden: int) -> None:
    """CPU projections of stored activations on many vectors."""
    draw = np.random.default_rng(2)
    rows, part = 24_576, 4_096
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        block = draw.standard_normal((part, hidden)).astype(np.float16)
        from safetensors.numpy import save

        content = save({tensor_name(STATES[0], 0): block})
        ids = pl.DataFrame({"row_id": map(str, range(rows)), "prompt_id": map(str, range(rows))})
        write_activations(folder, ids, [content] * (rows // part))
        vectors = draw.standard_normal((VECTORS, hidden)).astype(np.float32)
        project(folder, STATES[0], 0, vectors)
        start = time.perf_counter()
        for _ in range(4):
            project(folder, STATES[0], 0, vectors)
        pace = 4 * rows / (time.perf_counter() - start)
        one = time.perf_counter()
        for row in block[:500]:
            float(row.astype(np.float32) @ vectors[0])
        loop = 500 / (time.perf_counter() - one)
    print(
        f"projections on {VECTORS} vectors of width {hidden}: {pace:,.0f} rows/s; a row and a vector at a time: "
        f"{loop / VECTORS:,.0f} rows/s"
    )


def hidden_size(base_model: str) -> int:
    """Width of a hidden state."""
    return int(load_model(base_model).model.config.hidden_size)


def token_counts(base_model: str, rows: Sequence[Exchange]) -> np.ndarray:
    """Tokens of every row."""
    _, tokenizer = load_model(base_model)
    prompts: Any = tokenizer.apply_chat_template([row.chat for row in rows], tokenize=False, add_generation_prompt=True)
    ids = tokenizer([prompt + row.answer for prompt, row in zip(prompts, rows, strict=True)], add_special_tokens=False)
    return np.array([len(tokens) for tokens in ids["input_ids"]])


def device() -> str:
    """What the measurement runs on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def reset_peak() -> None:
    """Forget the GPU memory used so far."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def report(name: str, start: float, tokens: np.ndarray, flops_per_token: float, peak: float | None) -> None:
    """Print one row of the table."""
    seconds = time.perf_counter() - start
    rate = flops_per_token * tokens.sum() / seconds / 1e12
    share = f"{100 * rate / peak:.0f}%" if peak else "-"
    if torch.cuda.is_available():
        memory = torch.cuda.max_memory_allocated() / 1e9
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| {name} | {len(tokens) / seconds:,.1f} | {rate:.3g} | {share} | {memory:.1f} GB |", flush=True)


if __name__ == "__main__":
    main()
