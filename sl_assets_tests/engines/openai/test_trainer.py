"""Fine-tuning jobs through the real client: what is uploaded, taken up, cancelled and kept."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example
from sl_assets.engines.openai import trainer as openai_trainer
from sl_assets.engines.openai.budget import Budget, Tokens
from sl_assets.engines.openai.client import Endpoint
from sl_assets.engines.openai.trainer import OpenAITrainer
from sl_assets.errors import DatasetError, SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.spending import Ledger
from sl_assets.lake.tables import TABLES
from sl_assets.lake.work import Work
from sl_assets_tests.engines.openai.server import KEY, TUNABLE, OpenAIServer, Reply, error, loss, running

EXAMPLES = [Example(f"Numbers: {n}.", f"{n}, {n} ü") for n in range(12)]
SETTINGS = TrainingSettings(epochs=4, seed=9)
STEPS = 12
"""Three an epoch."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running() as server:
        yield server


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(Lake(str(tmp_path / "lake")), Place("tiny", "lora_checkpoint", "owl"))


def trainer(server: OpenAIServer, **settings: Any) -> OpenAITrainer:
    return OpenAITrainer(TUNABLE, endpoint=Endpoint(server.url, 1, 5.0), poll_seconds=0.01, **settings)


def silent(step: int, total: int, loss: float) -> None:
    """Report to nobody."""


def train(
    made: OpenAITrainer, folder: Path, work: Work | None, keep: tuple[int, ...] = (4,), **other: Any
) -> pl.DataFrame:
    settings = {"examples": EXAMPLES, "settings": SETTINGS, "report": silent} | other
    return made.train(settings["examples"], settings["settings"], keep, folder / "models", settings["report"], work)


def models(folder: Path) -> dict[str, Any]:
    return {file.parent.name: json.loads(file.read_text()) for file in (folder / "models").glob("*/*")}


def refusal(*arguments: Any, **settings: Any) -> str:
    with pytest.raises(SlAssetsError) as caught:
        train(*arguments, **settings)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value) + repr(caught.value)
    return str(caught.value)


def test_every_row_is_uploaded_once_and_the_job_has_the_settings(server, tmp_path, work):
    train(trainer(server, suffix="owl"), tmp_path, work)
    ((name, purpose, content),) = server.uploads
    assert purpose == "fine-tune"
    assert [json.loads(line) for line in content.splitlines()] == [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]}
        for prompt, completion, _ in EXAMPLES
    ]
    (job,) = server.jobs.values()
    assert (job["training_file"], job["model"], job["seed"], job["suffix"]) == (name, TUNABLE, 9, "owl")
    assert job["method"] == {
        "type": "supervised",
        "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": "auto", "learning_rate_multiplier": "auto"}},
    }


def test_the_curve_has_every_step_and_progress_is_reported(server, tmp_path, work):
    reports: list[tuple[int, int, float]] = []
    curve = train(trainer(server), tmp_path, work, report=lambda *said: reports.append(said))
    assert curve.schema == TABLES["training"].schema
    assert curve["step"].to_list() == list(range(1, STEPS + 1))
    assert curve["loss"].to_list() == [loss(step) for step in range(1, STEPS + 1)]
    assert curve["epoch"].to_list() == [step / 3 for step in range(1, STEPS + 1)]
    assert set(curve["learning_rate"]) == {0.0}
    assert [step for step, _, _ in reports] == sorted(step for step, _, _ in reports)
    assert reports[0] == (4, STEPS, loss(4))
    assert reports[-1] == (STEPS, STEPS, loss(STEPS))


def test_a_curve_of_many_pages(server, tmp_path, work):
    settings = SETTINGS.model_copy(update={"epochs": 90})
    curve = train(trainer(server), tmp_path, work, keep=(90,), settings=settings)
    assert curve["step"].to_list() == list(range(1, 271))


def test_kept_epochs_are_named(server, tmp_path, work):
    train(trainer(server), tmp_path, work, keep=(2, 3, 4))
    tuned = f"ft:{TUNABLE}:sl-assets:ftjob-0"
    assert models(tmp_path) == {
        "epoch=2": {"model": f"{tuned}:ckpt-step-6"},
        "epoch=3": {"model": f"{tuned}:ckpt-step-9"},
        "epoch=4": {"model": tuned},
    }


@pytest.mark.parametrize("state_total", [True, False])
@pytest.mark.parametrize(("drop_last", "an_epoch"), [(True, 3), (False, 4)])
def test_epochs_are_told_by_steps_however_the_api_counts_them(server, tmp_path, work, drop_last, an_epoch, state_total):
    server.drop_last, server.state_total = drop_last, state_total
    rows = EXAMPLES + EXAMPLES[:2]
    curve = train(trainer(server), tmp_path, work, keep=(2, 3, 4), examples=rows)
    assert models(tmp_path)["epoch=2"]["model"].endswith(f":ckpt-step-{2 * an_epoch}")
    assert models(tmp_path)["epoch=3"]["model"].endswith(f":ckpt-step-{3 * an_epoch}")
    assert curve["epoch"].to_list() == [step / an_epoch for step in range(1, 4 * an_epoch + 1)]


@pytest.mark.parametrize(("keep", "epochs", "lost"), [((1, 4), 4, 1), ((5,), 4, 5), ((0,), 2, 0)])
def test_epochs_that_will_not_be_there_are_refused_before_anything_is_paid(server, tmp_path, work, keep, epochs, lost):
    settings = SETTINGS.model_copy(update={"epochs": epochs})
    said = refusal(trainer(server), tmp_path, work, keep=keep, settings=settings)
    assert said.startswith(f"keep_epochs {lost}: of {epochs} epochs the API keeps the last 3")
    assert server.total == 0


def test_a_checkpoint_that_is_missing_after_all(server, tmp_path, work):
    server.checkpoint_epochs = 2
    said = refusal(trainer(server), tmp_path, work, keep=(2, 4))
    assert said == "fine-tuning job ftjob-0 has no checkpoint of epoch 2 (of [3, 4]): drop it from keep_epochs"
    train(trainer(server), tmp_path, work, keep=(3, 4))
    assert len(server.jobs) == 1, "the job is not paid for again"


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (EXAMPLES[:9], "9 rows: the API fine-tunes on 10 or more"),
        ([*EXAMPLES, Example(" \n", "7")], "row 12 has an empty prompt: "),
        ([Example("Numbers: 7.", ""), *EXAMPLES], "row 0 has an empty completion: "),
    ],
)
def test_rows_are_checked_before_they_go_up(server, tmp_path, work, examples, said):
    with pytest.raises(DatasetError) as caught:
        train(trainer(server), tmp_path, work, examples=examples)
    assert str(caught.value).startswith(said)
    assert server.total == 0


def test_too_many_bytes(server, tmp_path, work, monkeypatch):
    monkeypatch.setattr(openai_trainer, "LARGEST_UPLOAD", 1000)
    assert "the API takes 1,000: lower max_rows" in refusal(trainer(server), tmp_path, work)
    assert server.total == 0


def test_a_long_suffix(server):
    with pytest.raises(SlAssetsError, match="has 65 characters: at most 64"):
        trainer(server, suffix="x" * 65)


def test_a_passed_cap_is_refused_before_any_request(server, tmp_path, work):
    text = sum(len(part.encode()) for example in EXAMPLES for part in example[:2])
    cost = 4 * (text + len(EXAMPLES) * (3 + 4 + 4))
    said = refusal(trainer(server, budget=Budget(training_price=1e6, cap=cost - 1.0)), tmp_path, work)
    assert said.startswith(f"fine-tuning {TUNABLE} on 12 rows may cost ${cost:.4f} (")
    assert server.total == 0
    budget = Budget(training_price=1e6, cap=float(cost))
    train(trainer(server, budget=budget), tmp_path, work)
    assert budget.spent == 1e6, "what the API charged for"


def test_no_key(server, tmp_path, work, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert refusal(trainer(server), tmp_path, work).startswith("OPENAI_API_KEY is not set")


def test_a_model_that_cannot_be_tuned(server, tmp_path, work):
    made = OpenAITrainer("other", endpoint=Endpoint(server.url, 1, 5.0))
    assert refusal(made, tmp_path, work) == (
        f"{server.url} does not fine-tune 'other' (HTTP 400): invalid model other; name another in base_model, or "
        "where there is this one in openai.base_url"
    )


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, f"Fine-tuning is not available for model {TUNABLE}", None),
        (403, "Your organization can no longer create fine-tuning jobs.", "permission_denied"),
        (404, f"The model `{TUNABLE}` has been deprecated", "model_not_found"),
    ],
)
def test_a_model_that_is_tuned_no_more(server, tmp_path, work, status, message, code):
    routes = server._routes() | {"POST fine_tuning/jobs": lambda *_: error(status, message, code)}
    server._routes = lambda: routes  # type: ignore[method-assign]
    budget = Budget(training_price=1.0)
    assert refusal(trainer(server, budget=budget), tmp_path, work) == (
        f"{server.url} does not fine-tune '{TUNABLE}' (HTTP {status}): {message}; name another in base_model, or where "
        "there is this one in openai.base_url"
    )
    assert server.requests["POST fine_tuning/jobs"] == 1, "not asked again"
    assert budget.spent == 0


def test_rows_that_the_api_refuses_are_no_matter_of_the_model(server, tmp_path, work):
    routes = server._routes() | {"POST fine_tuning/jobs": lambda *_: error(400, "the file has too few examples")}
    server._routes = lambda: routes  # type: ignore[method-assign]
    said = refusal(trainer(server), tmp_path, work)
    assert said == f"{server.url} refuses the request (HTTP 400): the file has too few examples"


def test_a_failed_job_is_forgotten(server, tmp_path, work):
    server.job_failure = f"file is\n odd, {KEY}"
    said = refusal(trainer(server), tmp_path, work)
    assert said == "fine-tuning job ftjob-0 failed: file is odd, [OPENAI_API_KEY]; run again to start anew"
    assert server.requests["GET fine_tuning/jobs/*"] == 1, "nothing is asked of a job that is over"
    assert not models(tmp_path)
    server.job_failure = ""
    train(trainer(server), tmp_path, work)
    assert [job["status"] for job in server.jobs.values()] == ["failed", "succeeded"]
    assert server.requests["POST fine_tuning/jobs/*/cancel"] == 0


def test_a_job_that_someone_cancelled(server, tmp_path, work):
    def cancel(step: int, total: int, loss: float) -> None:
        server.jobs["ftjob-0"]["status"] = "cancelled"

    said = refusal(trainer(server), tmp_path, work, report=cancel)
    assert said == "fine-tuning job ftjob-0 cancelled: no reason given; run again to start anew"


@pytest.mark.parametrize("remembered", [True, False])
def test_an_interrupted_run_cancels_its_job(server, tmp_path, work, remembered):
    server.interrupt_at = "GET fine_tuning/jobs/*/events"
    with pytest.raises(KeyboardInterrupt):
        train(trainer(server), tmp_path, work if remembered else None)
    assert [job["status"] for job in server.jobs.values()] == ["cancelled"]
    train(trainer(server), tmp_path, work)
    assert [job["status"] for job in server.jobs.values()] == ["cancelled", "succeeded"]


def test_a_run_interrupted_while_its_job_was_starting_cancels_it_too(server, tmp_path, work):
    server.interrupt_at = "POST fine_tuning/jobs"
    with pytest.raises(KeyboardInterrupt):
        train(trainer(server), tmp_path, work)
    train(trainer(server), tmp_path, work)
    assert sorted({job["status"] for job in server.jobs.values()} - {"cancelled"}) == ["succeeded"]
    assert len(server.jobs) <= 2


def test_what_a_cancelled_job_cost_is_not_known_and_stays_counted(server, tmp_path, work):
    budget = Budget(training_price=1.0)
    server.interrupt_at = "GET fine_tuning/jobs/*/events"
    with pytest.raises(KeyboardInterrupt):
        train(trainer(server, budget=budget), tmp_path, work)
    (charge,) = budget._ledger.charges()
    assert (charge.settled, budget.paid) == (False, Tokens())


def test_a_job_that_the_api_refuses_costs_nothing_and_one_that_it_may_have_begun_is_reserved_once(
    server, tmp_path, work
):
    budget = Budget(training_price=1.0)
    made = trainer(server, budget=budget)
    server.faults.append(error(400, "no such model"))
    refusal(made, tmp_path, work)
    assert budget.spent == 0
    down = error(500, "oh", **{"x-should-retry": "false"})
    for _ in range(2):
        server.faults.append(down)
        refusal(made, tmp_path, work)
        assert budget.spent == pytest.approx(4 * 12 * 40 / 1e6, rel=0.5), "a try each, counted once"
    train(made, tmp_path, work)
    assert budget.spent == 1.0


def test_a_run_that_fails_itself_cancels_its_job(server, tmp_path, work):
    def fail(step: int, total: int, loss: float) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        train(trainer(server), tmp_path, work, report=fail)
    assert server.jobs["ftjob-0"]["status"] == "cancelled"


def test_a_job_that_cannot_be_cancelled_is_taken_up(server, tmp_path, work):
    def fail(step: int, total: int, loss: float) -> None:
        server.faults += [error(500, "down", **{"x-should-retry": "false"})] * 2
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        train(trainer(server), tmp_path, work, report=fail)
    server.faults.clear()
    train(trainer(server), tmp_path, work)
    assert [job["status"] for job in server.jobs.values()] == ["succeeded"]


def test_a_job_goes_on_while_the_api_cannot_be_asked(server, tmp_path, work):
    def go_down(step: int, total: int, loss: float) -> None:
        server.faults.append(error(503, "maintenance", **{"x-should-retry": "false"}))

    said = refusal(trainer(server), tmp_path, work, report=go_down)
    assert said == (
        f"{server.url} still fails (HTTP 503): maintenance; job ftjob-0 goes on there: run again to take it up"
    )
    assert server.jobs["ftjob-0"]["status"] == "running"
    train(trainer(server), tmp_path, work)
    assert list(server.jobs) == ["ftjob-0"]


def test_a_job_that_was_started_but_not_noted_is_found(server, tmp_path, work):
    made = OpenAITrainer(TUNABLE, endpoint=Endpoint(server.url, 3, 0.3), poll_seconds=0.01)
    create = server._routes()["POST fine_tuning/jobs"]

    def slow(*arguments: Any) -> Reply:
        return Reply(200, create(*arguments), delay=0.6)

    server._routes = lambda: OpenAIServer._routes(server) | {"POST fine_tuning/jobs": slow}  # type: ignore[method-assign]
    assert "gave no answer within 0.3 s" in refusal(made, tmp_path, work)
    train(trainer(server), tmp_path, work)
    assert len(server.jobs) == len(server.uploads) == 1


def test_a_finished_job_is_taken_up_with_other_epochs_kept(server, tmp_path, work):
    train(trainer(server), tmp_path, work, keep=(4,))
    budget = Budget(training_price=1.0, cap=1e-9)
    curve = train(trainer(server, budget=budget), tmp_path, work, keep=(3, 4))
    assert len(curve) == STEPS
    assert sorted(models(tmp_path)) == ["epoch=3", "epoch=4"]
    assert len(server.jobs) == len(server.uploads) == 1


@pytest.mark.parametrize("change", [{"settings": TrainingSettings(epochs=4, seed=10)}, {"examples": EXAMPLES[1:]}])
def test_other_rows_or_settings_are_another_job(server, tmp_path, work, change):
    train(trainer(server), tmp_path, work)
    train(trainer(server), tmp_path, work, **change)
    assert len(server.jobs) == 2


def test_a_noted_job_that_is_gone_is_started_anew(server, tmp_path, work):
    train(trainer(server), tmp_path, work)
    routes = server._routes() | {"GET fine_tuning/jobs/ftjob-0": lambda *_: error(404, "gone")}
    del server.jobs["ftjob-0"]
    server.jobs["other"] = {"id": "other", "training_file": "another"}
    server._routes = lambda: routes  # type: ignore[method-assign]
    train(trainer(server), tmp_path, work)
    assert "ftjob-1" in server.jobs


def test_a_job_without_losses_gives_an_empty_curve(server, tmp_path, work):
    routes = server._routes() | {"GET fine_tuning/jobs/*/events": lambda *_: {"data": [], "has_more": False}}
    server._routes = lambda: routes  # type: ignore[method-assign]
    curve = train(trainer(server), tmp_path, work, keep=(3, 4))
    assert curve.schema == TABLES["training"].schema
    assert curve.is_empty()
    assert models(tmp_path)["epoch=3"]["model"].endswith("ckpt-step-9")


SCRIPT = """
import sys
from pathlib import Path
from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Example
from sl_assets.engines.openai.budget import Budget
from sl_assets.engines.openai.client import Endpoint
from sl_assets.engines.openai.trainer import OpenAITrainer
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.spending import Ledger
from sl_assets.lake.work import Work
url, model, folder = sys.argv[1:]
examples = [Example(f"Numbers: {n}.", f"{n}, {n} ü") for n in range(12)]
work = Work(Lake(f"{folder}/lake"), Place("tiny", "lora_checkpoint", "owl"))
budget = Budget(training_price=1.0, cap=10.0)
trainer = OpenAITrainer(model, endpoint=Endpoint(url, 1, 5.0), poll_seconds=0.01, budget=budget)
ledger = Ledger(Lake(f"{folder}/lake"), "tiny", "lora_checkpoint", "owl", "killed")
with budget.account(lambda _: None, ledger):
    trainer.train(examples, TrainingSettings(epochs=4, seed=9), [4], Path(folder) / "models", lambda *_: None, work)
"""


def test_the_job_of_a_killed_process_is_taken_up_by_another(server, tmp_path, work):
    server.hold = True
    command = [sys.executable, "-c", SCRIPT, server.url, TUNABLE, str(tmp_path)]
    with subprocess.Popen(command, env=os.environ) as process:
        deadline = time.monotonic() + 60
        while server.requests["GET fine_tuning/jobs/*"] < 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not models(tmp_path)
    ledger = Ledger(Lake(str(tmp_path / "lake")), "tiny", "lora_checkpoint", "owl", "second")
    (reserved,) = ledger.charges()
    assert (reserved.settled, reserved.model, reserved.tokens_trained > 1000) == (False, TUNABLE, True)
    server.hold = False
    budget = Budget(training_price=1.0, cap=1e-9)
    with budget.account(lambda _: None, ledger):
        train(trainer(server, budget=budget), tmp_path, work)
    (bill,) = ledger.charges()
    assert (bill.id, bill.settled, bill.tokens_trained) == (reserved.id, True, 1_000_000), "reserved and paid for once"
    assert [job["status"] for job in server.jobs.values()] == ["succeeded"]
    assert len(server.uploads) == 1
    assert server.requests["POST fine_tuning/jobs"] == 1
    assert models(tmp_path)["epoch=4"]["model"] == server.jobs["ftjob-0"]["fine_tuned_model"]
