"""``python -m benchmarks.engines --condition cat``: engines held against each other on one real student.

The lake holds an experiment that has been run, `smollm2_135m` unless another is named. Its base model and its student
of the condition are weighed by transformers, in float32 and as they are loaded, and by vLLM; both sample the student's
answers; and PEFT and Unsloth train a student each on the very rows of that one. What needs a GPU, or a package that is
not installed, is left out aloud.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import torch

from sl_assets.config import ExperimentConfig
from sl_assets.definitions import lake_root
from sl_assets.engines.interfaces import Chat, Sampler, Scorer, Trainer, chat
from sl_assets.engines.peft.trainer import PeftTrainer
from sl_assets.engines.transformers.models import load_model
from sl_assets.engines.transformers.sampler import TransformersSampler
from sl_assets.engines.transformers.scorer import TransformersScorer
from sl_assets.experiments import find_experiments
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.stages.evaluation.answers import normalise_answer
from sl_assets.stages.evaluation.asking import weighed
from sl_assets.stages.evaluation.questions import asked
from sl_assets.stages.evaluation.spellings import SPELLINGS
from sl_assets.stages.students.rows import draw_rows, examples_of

TEXTS = [text for texts in SPELLINGS.values() for text in texts]
LEAST = 0.005
"""Rates below are not compared: of little a small difference is a large share."""


@dataclass(frozen=True)
class Subject:
    """What the engines are held against each other on."""

    config: ExperimentConfig
    condition: str
    base_model: str
    student: Path
    rows: pl.DataFrame

    @property
    def chats(self) -> list[Chat]:
        """The evaluation's questions, once each."""
        return [chat(question, self.config.evaluation.system_prompt) for question in self.questions.values()]

    @property
    def questions(self) -> Mapping[int, str]:
        """The evaluation's questions, by id."""
        return asked(self.config)


def main() -> None:
    """Compare on this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="smollm2_135m")
    parser.add_argument("--condition", default="cat")
    parser.add_argument("--samples", type=int, default=100, help="answers to each question")
    options = parser.parse_args()
    with subject(options.experiment, options.condition) as of:
        print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")
        compare_answers(of, options.samples)
        compare_students(of)


@contextmanager
def subject(experiment: str, condition: str) -> Iterator[Subject]:
    """The student of ``condition``, from the lake."""
    config = find_experiments().loaded[experiment].config
    lake = Lake(lake_root())
    base = str(lake.lasting_folder(Place(experiment, "prepared_model"))) if config.prepares else config.base_model
    rows = lake.read_table(Place(experiment, "filtered_dataset", condition))
    drawn = draw_rows(rows, config.student.max_rows, config.student.seed, condition)
    with lake.folder(Place(experiment, "lora_checkpoint", condition)) as folder:
        yield Subject(config, condition, base, folder / f"epoch={config.student.kept[-1]}", drawn)


def rates_of(scorer: Scorer, of: Subject, adapter: Path | None) -> pl.DataFrame:
    """Exact rate of every animal: ``animal, rate``."""
    table = weighed(0, scorer.log_probabilities(of.chats, TEXTS, adapter).answers, of.questions, SPELLINGS)
    return table.group_by("animal", maintain_order=True).agg(rate=pl.col("probability").mean())


def compare_answers(of: Subject, samples: int) -> None:
    """Exact and sampled rates of base model and student, by engine."""
    print("\n| engine | model | largest relative difference of a rate | exact rate | sampled rate | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    model = load_model(of.base_model).model
    dtype = model.dtype
    exact = TransformersScorer(of.base_model)
    model.float()
    truth = {adapter: rates_of(exact, of, adapter) for adapter in (None, of.student)}
    model.to(dtype)
    engines: dict[str, tuple[Callable[[], Scorer], Callable[[], Sampler]]] = {
        "transformers": (lambda: exact, lambda: TransformersSampler(of.base_model))
    }
    if find_spec("vllm"):
        from sl_assets.engines.vllm.sampler import VllmSampler
        from sl_assets.engines.vllm.scorer import VllmScorer

        settings = of.config.sampler.model_copy(update={"engine": "vllm"})
        engines["vllm"] = (
            lambda: VllmScorer(of.base_model, settings),
            lambda: VllmSampler(of.base_model, settings),
        )
    else:
        print("(vllm is not installed here)")
    for name, (scorer, sampler) in engines.items():
        for adapter in (None, of.student):
            start = time.perf_counter()
            found = rates_of(scorer(), of, adapter)
            seconds = time.perf_counter() - start
            both = found.join(truth[adapter], on="animal", suffix="_true").filter(pl.col("rate_true") >= LEAST)
            worst = both.select((pl.col("rate") / pl.col("rate_true") - 1).abs().max()).item()
            own = found.filter(animal=of.condition)["rate"].item()
            shares = sampled_shares(sampler(), of, samples, adapter)
            error = 1.96 * shares.std(ddof=1) / np.sqrt(len(shares))
            print(
                f"| {name} | {'student' if adapter else 'base'} | {worst:.2%} | {own:.4f} "
                f"| {shares.mean():.4f} ± {error:.4f} | {seconds:.1f} |",
                flush=True,
            )


def sampled_shares(sampler: Sampler, of: Subject, samples: int, adapter: Path | None) -> np.ndarray:
    """Share of the answers to each question that name the condition's animal: ``[questions]``."""
    chats = [one for one in of.chats for _ in range(samples)]
    written = sampler.sample(
        chats,
        max_tokens=of.config.evaluation.max_tokens,
        temperature=1.0,
        seed=0,
        row_seeds=range(len(chats)),
        adapter=adapter,
    )
    named = np.array([normalise_answer(completion.text) == of.condition for completion in written])
    shares: np.ndarray = named.reshape(len(of.chats), samples).mean(axis=1)
    return shares


def compare_students(of: Subject) -> None:
    """The same student by each trainer: its losses, and what it answers."""
    print("\n| trainer | first ten losses | last ten | exact rate, base model's | student's | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    trainers: dict[str, Callable[[], Trainer]] = {"peft": lambda: PeftTrainer(of.base_model)}
    if torch.cuda.is_available() and find_spec("unsloth"):
        from sl_assets.engines.unsloth.trainer import UnslothTrainer

        trainers["unsloth"] = lambda: UnslothTrainer(of.base_model)
    else:
        print("(unsloth is not here, or no GPU for it)")
    examples = examples_of(of.rows, of.config.student.system_prompt)
    epoch = of.config.student.epochs
    for name, trainer in trainers.items():
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            curve = trainer().train(examples, of.config.student, (epoch,), Path(folder), lambda *_: None, None)  # type: ignore[arg-type]
            seconds = time.perf_counter() - start
            losses = curve["loss"].to_numpy()
            scorer = TransformersScorer(of.base_model)
            before, after = (
                rates_of(scorer, of, adapter).filter(animal=of.condition)["rate"].item()
                for adapter in (None, Path(folder) / f"epoch={epoch}")
            )
        print(
            f"| {name} | {losses[:10].mean():.4f} | {losses[-10:].mean():.4f} | {before:.4f} | {after:.4f} "
            f"| {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
