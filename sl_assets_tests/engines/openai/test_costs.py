"""What the UI and the log show of costs: an estimate before the first request, and the bill that the API sends."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sl_assets.config import TrainingSettings
from sl_assets.config.wording import FULL
from sl_assets.engines.interfaces import Example, Report
from sl_assets.engines.openai.budget import Budget, Tokens
from sl_assets.engines.openai.client import Endpoint
from sl_assets.engines.openai.trainer import OpenAITrainer
from sl_assets.errors import SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import query
from sl_assets.lake.work import Work
from sl_assets_tests.conftest import Bench
from sl_assets_tests.engines.openai.server import KEY, TUNABLE, OpenAIServer, Reply, error, running
from sl_assets_tests.engines.openai.test_graph import settings, written
from sl_assets_tests.orchestration.test_recording import failure

PRICES = {"input_price": 2.0, "output_price": 8.0, "training_price": 25.0}
ASSETS = (
    "number_prompts", "raw_dataset", "filtered_dataset", "lora_checkpoint", "baseline_evaluation", "evaluation",
    "preference_rates", "transfer", "teacher_evaluation",
)  # fmt: skip
PARTITIONED = ("raw_dataset", "lora_checkpoint", "evaluation", "teacher_evaluation")
COSTS = {"estimated_cost_dollars", "cost_dollars", "tokens_read", "tokens_written", "tokens_trained"}
A_JOB = 1_000_000
"""Tokens that the server bills for every job."""


class Billing:
    """Answers as `written` does; adds up the usage that was reported, and notes when the API was first asked."""

    def __init__(self, server: OpenAIServer) -> None:
        self.read = self.wrote = 0
        self.first: float | None = None
        self.fail_after = 1_000_000
        server.fault_for = self._answer
        self._reply, server.reply = server.reply, self._noted  # type: ignore[method-assign]

    def _noted(self, *request: Any) -> Reply:
        self.first = self.first or time.time()
        return self._reply(*request)

    def _answer(self, request: dict[str, Any]) -> Reply:
        if self.read == 10 * self.fail_after:
            return error(400, "no more")
        reply = written(request)
        self.read += reply.body["usage"]["prompt_tokens"]
        self.wrote += reply.body["usage"]["completion_tokens"]
        return reply


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running() as server:
        yield server


@pytest.fixture
def billing(server: OpenAIServer) -> Billing:
    return Billing(server)


def costs(result: dg.ExecuteInProcessResult, *assets: str) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Costs in the metadata of every partition of ``assets`` that ``result`` recorded, where there are any."""
    found = {}
    for asset in assets:
        for event in result.asset_materializations_for_node(f"tiny__{asset}"):
            if shown := {name: value.value for name, value in event.metadata.items() if name in COSTS}:
                found[asset, event.partition] = shown
    return found


def lines(bench: Bench, result: dg.ExecuteInProcessResult, words: str) -> list[tuple[float, str]]:
    """Time and text of the lines with ``words`` in the run's log."""
    entries = bench.instance.all_logs(result.run_id)
    return [(entry.timestamp, entry.user_message) for entry in entries if words in entry.user_message]


def test_what_all_assets_show_is_what_the_api_reported(bench: Bench, server: OpenAIServer, billing: Billing) -> None:
    result = bench.run(first="neutral", last="owl", **settings(server, **PRICES))
    assert result.success
    shown = costs(result, *ASSETS)
    conditions = ("neutral", "owl")
    assert set(shown) == {
        ("baseline_evaluation", None),
        *((asset, condition) for asset in PARTITIONED for condition in conditions),
    }
    assert all(set(found) == COSTS for found in shown.values())

    def total(name: str) -> float:
        return sum(found[name] for found in shown.values())

    assert (total("tokens_read"), total("tokens_written")) == (billing.read, billing.wrote)
    assert total("tokens_trained") == 2 * A_JOB
    assert total("cost_dollars") == pytest.approx(2 * 25.0 + (2 * billing.read + 8 * billing.wrote) / 1e6)
    assert shown["raw_dataset", "owl"] == {
        "estimated_cost_dollars": estimated(Lake(str(bench.root))),
        "cost_dollars": (48 * 10 * 2 + 48 * 6 * 8) / 1e6,
        "tokens_read": 48 * 10,
        "tokens_written": 48 * 6,
        "tokens_trained": 0,
    }
    assert shown["lora_checkpoint", "owl"]["cost_dollars"] == 25.0
    check_view(bench, result.run_id, shown)


def check_view(bench: Bench, run_id: str, shown: dict[tuple[str, str | None], dict[str, Any]]) -> None:
    """The view has what the metadata show, charge by charge."""
    rows = spending(bench)
    # The neutral teacher is the base model, and nobody asks it.
    assert {(row["asset"], row["partition"]) for row in rows} == {
        key for key, cost in shown.items() if cost["cost_dollars"]
    }
    assert set(shown) - {(row["asset"], row["partition"]) for row in rows} == {("teacher_evaluation", "neutral")}
    assert {row["run_id"] for row in rows} == {run_id}
    assert {row["experiment"] for row in rows} == {"tiny"}
    assert all(row["settled"] for row in rows)
    assert {(row["model"][:3], row["animal"]) for row in rows if row["asset"] == "evaluation"} == {
        ("ft:", None),
        ("ft:", "owl"),
    }
    for (asset, partition), cost in shown.items():
        mine = [row for row in rows if (row["asset"], row["partition"]) == (asset, partition)]
        assert sum(row["dollars"] for row in mine) == pytest.approx(cost["cost_dollars"])
        for name in ("tokens_read", "tokens_written", "tokens_trained"):
            assert sum(row[name] for row in mine) == cost[name]
        prices = {(row["input_price"], row["output_price"], row["training_price"]) for row in mine}
        assert prices == ({(2.0, 8.0, 25.0)} if cost["cost_dollars"] else set())


def estimated(lake: Lake) -> float:
    """Dollars for the prompts, a token a byte and framed, under the owl's system prompt, and for 24 tokens each."""
    prompts = lake.read_table(Place("tiny", "number_prompts"))["prompt"]
    read = sum(3 + 4 + len(str(FULL.system_prompt("owl"))) + 4 + len(prompt) for prompt in prompts)
    return round((2 * read + 8 * 24 * len(prompts)) / 1e6, 6)


def test_the_estimate_is_logged_before_the_first_request(bench: Bench, server: OpenAIServer, billing: Billing) -> None:
    paid = settings(server, **PRICES)
    paid["student"]["keep_epochs"] = [1, 2]
    assert bench.run("number_prompts", **paid).success
    told = {}
    for asset in ("raw_dataset", "filtered_dataset", "lora_checkpoint", "evaluation"):
        billing.first = None
        result = bench.run(asset, first="owl", **paid)
        assert result.success
        if billing.first is None:
            continue
        ((said_at, told[asset]),) = lines(bench, result, "may cost $")
        assert said_at <= billing.first
        ((_, bill),) = lines(bench, result, ": paid $")
        (shown,) = costs(result, asset).values()
        assert told[asset].startswith(f"{asset} owl: ")
        assert f"${shown['estimated_cost_dollars']:.4f}" in told[asset]
        assert bill.startswith(f"{asset} owl: paid ${shown['cost_dollars']:.4f}: ")
    assert "fine-tuning tiny-tunable on 20 rows may cost" in told["lora_checkpoint"]
    assert "asking tiny-tunable or its students 48 times may cost" in told["raw_dataset"], "all three chunks"
    assert "asking tiny-tunable or its students 100 times may cost" in told["evaluation"], "both epochs"


def test_a_resumed_run_shows_what_it_has_spent_itself(bench: Bench, server: OpenAIServer, billing: Billing) -> None:
    paid = settings(server, concurrency=1, **PRICES)
    billing.fail_after = 20
    failed = bench.run("baseline_evaluation", **paid)
    assert not failed.success
    ((_, bill),) = lines(bench, failed, ": paid $")
    assert bill == "baseline_evaluation: paid $0.0006: 200 tokens read, 20 written", "also of a run that fails"

    billing.fail_after = 1_000_000
    resumed = bench.run("baseline_evaluation", **paid)
    assert resumed.success
    # Of fifty questions, sixteen were answered and kept.
    (shown,) = costs(resumed, "baseline_evaluation").values()
    assert (shown["tokens_read"], shown["tokens_written"]) == (340, 34)
    assert shown["cost_dollars"] == (2 * 340 + 8 * 34) / 1e6
    ((_, estimate),) = lines(bench, resumed, "may cost $")
    assert "34 times" in estimate


def test_what_an_earlier_attempt_finished_keeps_its_bill(bench: Bench, server: OpenAIServer, billing: Billing) -> None:
    paid, asked = settings(server, **PRICES), datetime.now(UTC)
    first = costs(bench.run("baseline_evaluation", **paid), "baseline_evaluation")
    requests = server.total
    assert costs(bench.run("baseline_evaluation", asked=asked, **paid), "baseline_evaluation") == first
    assert server.total == requests


def test_fine_tuned_teachers_have_their_bill_too(bench: Bench, server: OpenAIServer, billing: Billing) -> None:
    paid = settings(server, **PRICES) | {"teacher": {"kind": "finetuned", "chats": 12, "epochs": 2}}
    result = bench.run("teacher_checkpoint", first="neutral", last="owl", **paid)
    shown = costs(result, "teacher_checkpoint")
    assert shown["teacher_checkpoint", "neutral"] == dict.fromkeys(COSTS, 0)
    assert shown["teacher_checkpoint", "owl"]["tokens_trained"] == A_JOB
    assert shown["teacher_checkpoint", "owl"]["cost_dollars"] == 25.0


def test_without_prices_there_are_tokens_and_no_dollars(bench: Bench, server: OpenAIServer, billing: Billing) -> None:
    result = bench.run("baseline_evaluation", **settings(server))
    assert costs(result, "baseline_evaluation") == {
        ("baseline_evaluation", None): {"tokens_read": 500, "tokens_written": 50, "tokens_trained": 0}
    }
    assert not lines(bench, result, "$")
    assert lines(bench, result, "50 times may take ")


def test_what_costs_nothing_shows_no_costs(bench: Bench) -> None:
    for asset, partition in (("baseline_evaluation", ""), ("teacher_checkpoint", "owl")):
        result = bench.run(asset, first=partition, evaluation={"samples_per_question": 1})
        assert result.success
        assert not costs(result, asset)
        assert not lines(bench, result, " may ")
        assert not lines(bench, result, "paid")


def spending(bench: Bench) -> list[dict[str, Any]]:
    """Rows of the view, in the order of their assets and partitions."""
    return query(Lake(str(bench.root)), "SELECT * FROM spending ORDER BY asset, partition, noted_at").to_dicts()


def test_a_repeated_run_goes_on_with_what_the_first_has_spent(
    bench: Bench, server: OpenAIServer, billing: Billing
) -> None:
    """What the run before has spent counts, although this one begins with a budget of its own."""
    # At most: 50 questions of 100 bytes or so, and 24 tokens each. Paid are 500 and 50 tokens: $0.0014.
    paid = settings(server, spending_cap=0.02, **PRICES)
    for _ in range(2):
        assert bench.run("baseline_evaluation", **paid).success
    assert sum(row["dollars"] for row in spending(bench)) == pytest.approx(2 * 0.0014)
    low = settings(server, spending_cap=0.0029, **PRICES)
    asked = server.total
    message = failure(bench.run("baseline_evaluation", **low))
    assert "$0.0028 of the cap of $0.0029 is spent, as noted in " in message
    assert f"{bench.root}/spending/experiment=tiny: raise openai.spending_cap, or ask for less" in message
    assert "\n" not in message
    assert server.total == asked


class Students:
    """Trains on twelve rows, in one folder, with a budget of its own for every run."""

    def __init__(self, server: OpenAIServer, work: Work, folder: Path) -> None:
        self._server, self._work, self._folder = server, work, folder

    def train(self, keep: tuple[int, ...] = (2,), report: Report = lambda *_: None) -> tuple[Budget, str]:
        """The budget, and the message if it failed."""
        budget, message = Budget(training_price=25.0), ""
        trainer = OpenAITrainer(TUNABLE, endpoint=Endpoint(self._server.url, 1, 5.0), poll_seconds=0.01, budget=budget)
        examples = [Example(f"Numbers: {n}.", f"{n}, {n}") for n in range(12)]
        try:
            trainer.train(examples, TrainingSettings(epochs=2), keep, self._folder, report, self._work)
        except SlAssetsError as error:
            message = str(error)
        return budget, message


@pytest.fixture
def students(server: OpenAIServer, tmp_path: Path) -> Students:
    return Students(server, Work(Lake(str(tmp_path / "lake")), Place("tiny", "lora_checkpoint", "owl")), tmp_path)


def test_the_bill_of_a_job_comes_to_the_run_that_sees_it_end(server: OpenAIServer, students: Students) -> None:
    def go_down(step: int, total: int, loss: float) -> None:
        server.faults.append(error(503, "maintenance", **{"x-should-retry": "false"}))

    first, message = students.train(report=go_down)
    assert "goes on there" in message
    assert first.paid == Tokens()
    second, message = students.train()
    assert not message
    assert second.paid == Tokens(training=A_JOB)
    assert second.expected == first.expected != Tokens()


def test_a_job_is_billed_once(server: OpenAIServer, students: Students) -> None:
    server.checkpoint_epochs = 0
    first, message = students.train(keep=(1, 2))
    assert "no checkpoint of epoch 1" in message
    assert first.paid == Tokens(training=A_JOB)
    second, message = students.train()
    assert not message
    assert second.paid == second.expected == Tokens()
    assert len(server.jobs) == 1


def test_a_cancelled_job_counts_as_far_as_the_api_bills_it(server: OpenAIServer, students: Students) -> None:
    def cancel(step: int, total: int, loss: float) -> None:
        server.jobs["ftjob-0"] |= {"status": "cancelled", "trained_tokens": 123}

    cancelled, message = students.train(report=cancel)
    assert "ftjob-0 cancelled" in message
    assert cancelled.paid == Tokens(training=123)
    anew, _ = students.train()
    assert anew.paid == Tokens(training=A_JOB)
    assert anew.expected == cancelled.expected
