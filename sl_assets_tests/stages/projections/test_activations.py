"""Activations in parts, with an encoder whose states are known."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from sl_assets.engines.interfaces import STATES, Exchange, Pooled
from sl_assets.errors import DatasetError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.work import Work
from sl_assets.stages.projections import activations
from sl_assets.stages.projections.activations import (
    encode_parts,
    part_files,
    read_rows,
    tensor_name,
    write_activations,
)

LAYERS = (0, 2)
ROWS = pl.DataFrame(
    {
        "row_id": [f"r{i}" for i in range(11)],
        "prompt_id": [f"p{i}" for i in range(11)],
        "prompt": [f"{i}" for i in range(11)],
        "completion": [f"{7 * i % 11}" for i in range(11)],
        "finish_reason": "stop",
    }
)


class InterruptedRunError(Exception):
    """Stands for whatever ends a process."""


def state(exchange: Exchange, layer: int, kind: int) -> list[float]:
    """Integers that tell row, layer and kind apart."""
    return [int(exchange.chat[-1]["content"]), int(exchange.answer), 10 * layer + kind]


class KnownEncoder:
    """Gives known states in batches of two rows, in scrambled order; dies at the batch asked for."""

    layers = 4

    def __init__(self, die_at: int | None = None, factor: dict[int, float] | None = None) -> None:
        self.seen: list[Exchange] = []
        self._batches, self._die_at, self._factor = 0, die_at, factor or {}

    def encode(self, exchanges: Sequence[Exchange], layers: Sequence[int]) -> Iterator[Pooled]:
        order = sorted(range(len(exchanges)), key=lambda i: (i * 5) % 7)
        for start in range(0, len(order), 2):
            self._batches += 1
            if self._batches == self._die_at:
                raise InterruptedRunError
            batch = order[start : start + 2]
            self.seen += [exchanges[i] for i in batch]
            states = [
                [[self._scaled(exchanges[i], layer, kind) for kind in range(len(STATES))] for layer in layers]
                for i in batch
            ]
            yield Pooled(batch, np.array(states, np.float32))

    def _scaled(self, exchange: Exchange, layer: int, kind: int) -> list[float]:
        return [self._factor.get(layer, 1) * number for number in state(exchange, layer, kind)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of four rows at two layers: eleven rows make three."""
    monkeypatch.setattr(activations, "PART_ROWS", 8)
    monkeypatch.setattr(activations, "SMALLEST_PART", 3)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(Lake(str(tmp_path / "lake")), Place("tiny", "activations", "owl"))


def silent(done: int, total: int) -> None:
    assert 0 < done <= total


def written(folder: Path, parts: Iterable[bytes], rows: pl.DataFrame = ROWS) -> Path:
    folder.mkdir()
    write_activations(folder, rows, parts)
    return folder


def test_every_row_has_its_states_at_every_layer_in_its_place(work: Work, tmp_path: Path) -> None:
    folder = written(tmp_path / "owl", encode_parts(KnownEncoder, ROWS, LAYERS, work, silent))
    parts = [load_file(file) for file in part_files(folder)]
    assert [len(part["prompt_last.2"]) for part in parts] == [4, 4, 3]
    assert {name for part in parts for name in part} == {
        tensor_name(kind, layer) for kind in STATES for layer in LAYERS
    }
    for layer in LAYERS:
        for kind, name in enumerate(STATES):
            tensors = [part[tensor_name(name, layer)] for part in parts]
            assert {tensor.dtype for tensor in tensors} == {np.dtype(np.float16)}
            assert np.concatenate(tensors).tolist() == [[i, 7 * i % 11, 10 * layer + kind] for i in range(11)]


def test_rows_are_told_with_the_parts(work: Work, tmp_path: Path) -> None:
    folder = written(tmp_path / "owl", encode_parts(KnownEncoder, ROWS, LAYERS, work, silent))
    assert read_rows(folder).equals(ROWS.select("row_id", "prompt_id"))


def test_the_model_sees_what_students_see(work: Work) -> None:
    encoder = KnownEncoder()
    list(encode_parts(lambda: encoder, ROWS, LAYERS, work, silent))
    seen = sorted((exchange.chat[0]["content"], exchange.answer) for exchange in encoder.seen)
    assert seen == sorted(ROWS.select("prompt", "completion").rows())
    assert {(len(exchange.chat), exchange.chat[0]["role"]) for exchange in encoder.seen} == {(1, "user")}


@pytest.mark.parametrize(("layers", "sizes"), [((0,), [8, 3]), ((0, 2), [4, 4, 3]), ((0, 1, 2, 3), [3, 3, 3, 2])])
def test_more_layers_make_smaller_parts_down_to_the_smallest(layers, sizes, work: Work, tmp_path: Path) -> None:
    folder = written(tmp_path / "owl", encode_parts(KnownEncoder, ROWS, layers, work, silent))
    assert [len(load_file(file)["prompt_last.0"]) for file in part_files(folder)] == sizes


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_the_last_part_has_the_rows_that_are_left(rows, sizes, work: Work, tmp_path: Path) -> None:
    some = ROWS.head(rows)
    folder = written(tmp_path / "owl", encode_parts(KnownEncoder, some, LAYERS, work, silent), some)
    assert [len(load_file(file)["prompt_last.0"]) for file in part_files(folder)] == sizes


def test_an_interrupted_pass_goes_on_after_its_last_part(work: Work, tmp_path: Path) -> None:
    first = KnownEncoder(die_at=4)
    with pytest.raises(InterruptedRunError):
        list(encode_parts(lambda: first, ROWS, LAYERS, work, silent))
    assert len(first.seen) == 6, "a part of four rows and half of another"
    second = KnownEncoder()
    resumed = list(encode_parts(lambda: second, ROWS, LAYERS, work, silent))
    assert sorted(int(exchange.chat[0]["content"]) for exchange in second.seen) == list(range(4, 11))
    other = Work(Lake(str(tmp_path / "other")), Place("tiny", "activations", "owl"))
    assert resumed == list(encode_parts(KnownEncoder, ROWS, LAYERS, other, silent))


def test_a_finished_pass_needs_no_encoder(work: Work) -> None:
    parts = list(encode_parts(KnownEncoder, ROWS, LAYERS, work, silent))

    def none() -> KnownEncoder:
        raise AssertionError

    assert list(encode_parts(none, ROWS, LAYERS, work, silent)) == parts


@pytest.mark.parametrize("column", ["prompt", "completion"])
def test_a_changed_row_is_read_again_with_its_part_only(column: str, work: Work) -> None:
    list(encode_parts(KnownEncoder, ROWS, LAYERS, work, silent))
    changed = ROWS.with_columns(pl.when(pl.col("row_id") == "r5").then(pl.lit("99")).otherwise(column).alias(column))
    encoder = KnownEncoder()
    list(encode_parts(lambda: encoder, changed, LAYERS, work, silent))
    assert len(encoder.seen) == 4


def test_other_layers_are_read_anew(work: Work) -> None:
    list(encode_parts(KnownEncoder, ROWS, LAYERS, work, silent))
    encoder = KnownEncoder()
    list(encode_parts(lambda: encoder, ROWS, (0, 3), work, silent))
    assert len(encoder.seen) == 11


def test_progress_rises_to_the_number_of_rows(work: Work) -> None:
    for _ in ("encoded", "found"):
        reports: list[tuple[int, int]] = []
        list(encode_parts(KnownEncoder, ROWS, LAYERS, work, lambda *report: reports.append(report)))  # noqa: B023
        assert reports == sorted(set(reports))
        assert reports[-1] == (11, 11)
        assert {(4, 11), (8, 11)} < set(reports)


def test_rows_are_seen_under_the_system_prompt_of_training(work: Work) -> None:
    plain, under = KnownEncoder(), KnownEncoder()
    list(encode_parts(lambda: plain, ROWS, LAYERS, work, silent))
    list(encode_parts(lambda: under, ROWS, LAYERS, work, silent, "You are Bob."))
    assert {exchange.chat[0]["role"] for exchange in plain.seen} == {"user"}
    assert {exchange.chat[0]["content"] for exchange in under.seen} == {"You are Bob."}


def test_rows_are_seen_under_a_system_prompt_of_their_own(work: Work) -> None:
    own = [None, *(f"You are {i}." for i in range(1, ROWS.height))]
    encoder, again = KnownEncoder(), KnownEncoder()
    list(encode_parts(lambda: encoder, ROWS, LAYERS, work, silent))
    list(encode_parts(lambda: again, ROWS.with_columns(system=pl.Series(own)), LAYERS, work, silent))
    said = {exchange.chat[-1]["content"]: exchange.chat[0]["content"] for exchange in again.seen}
    prompts = ROWS["prompt"].to_list()
    assert said == {prompt: system or prompt for prompt, system in zip(prompts, own, strict=True)}


def test_states_beyond_float16_name_their_layer(work: Work) -> None:
    encoder = KnownEncoder(factor={2: 7e3})
    with pytest.raises(DatasetError, match="layer 2 has states beyond float16") as error:
        list(encode_parts(lambda: encoder, ROWS, LAYERS, work, silent))
    assert "\n" not in str(error.value)
    with pytest.raises(DatasetError, match="layer 0 "):
        list(encode_parts(lambda: KnownEncoder(factor={0: 7e4, 2: 7e4}), ROWS, LAYERS, work, silent))


def test_states_are_rounded_to_float16(work: Work, tmp_path: Path) -> None:
    encoder = KnownEncoder(factor={2: 0.1})
    folder = written(tmp_path / "owl", encode_parts(lambda: encoder, ROWS, LAYERS, work, silent))
    last = load_file(part_files(folder)[-1])["response_mean.2"]
    assert last[-1].tolist() == np.array([1.0, 0.4, 2.0], np.float16).tolist()


def test_parts_stay_in_order_beyond_ten(work: Work, tmp_path: Path) -> None:
    many = pl.concat([ROWS] * 4)
    folder = written(tmp_path / "owl", encode_parts(KnownEncoder, many, (0, 1, 2), work, silent), many)
    files = part_files(folder)
    assert len(files) == 15
    column = np.concatenate([load_file(file)["prompt_mean.0"] for file in files])[:, 0]
    assert column.tolist() == list(range(11)) * 4


def test_the_same_activations_give_the_same_files(work: Work, tmp_path: Path) -> None:
    parts = list(encode_parts(KnownEncoder, ROWS, LAYERS, work, silent))
    one, other = (written(tmp_path / name, parts) for name in ("one", "other"))
    files = sorted(file.name for file in one.iterdir())
    assert files == [*(f"part-0000{i}.safetensors" for i in range(3)), "rows.parquet"]
    assert [(one / name).read_bytes() for name in files] == [(other / name).read_bytes() for name in files]
