"""Students fine-tuned by OpenAI's API: rows go up once, a job trains on them, and its models are kept by name.

Of the settings of a student the API takes epochs and seed; rank, dropout and learning rate are its own business, so the
curve's learning rate is 0. A job is noted before it is watched: a run that is killed leaves it running, and the next
run takes it up; a run that is interrupted, or that fails itself, cancels it. If the API cannot be asked any more, the
job goes on too. Uploaded files stay with the API, for the user to look at or delete. Imports openai.
"""

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import openai
import polars as pl
from openai.types.fine_tuning import FineTuningJob

from sl_assets.config import TrainingSettings
from sl_assets.engines.interfaces import Chat, Example, Report, chat
from sl_assets.engines.openai.budget import UNLIMITED, Budget, Reservation, Tokens, counter_for
from sl_assets.engines.openai.client import OPENAI, Endpoint, ServiceError, Started, jsonl, without_key
from sl_assets.engines.openai.sampler import MODEL_FILE
from sl_assets.errors import DatasetError, SlAssetsError
from sl_assets.lake.tables import TABLES
from sl_assets.lake.work import Work
from sl_assets.liveness import alive

FEWEST_ROWS = 10
LARGEST_UPLOAD = 512 * 1024 * 1024
"""Bytes that the API takes in one file."""

KEPT_CHECKPOINTS = 3
"""Epochs, counted from the last, whose models the API keeps."""

LONGEST_SUFFIX = 64
ENDED = ("succeeded", "failed", "cancelled")
STATE = "openai_job.json"

Losses = dict[int, float]
"""Loss by step."""


class OpenAITrainer:
    """Fine-tuned models of ``model``.

    Args:
        model: the API's name of a model that it fine-tunes.
        endpoint: where the API is.
        budget: prices, and a cap that a job is held against before anything is uploaded.
        suffix: part of the fine-tuned model's name, at most 64 characters.
        batch_size: rows an optimiser step, or the API's choice.
        learning_rate_multiplier: factor of the API's learning rate, or the API's choice.
        poll_seconds: time between two looks at a job.
    """

    engine = "openai"

    def __init__(
        self,
        model: str,
        *,
        endpoint: Endpoint = OPENAI,
        budget: Budget = UNLIMITED,
        suffix: str = "sl-assets",
        batch_size: int | Literal["auto"] = "auto",
        learning_rate_multiplier: float | Literal["auto"] = "auto",
        poll_seconds: float = 20.0,
    ) -> None:
        if len(suffix) > LONGEST_SUFFIX:
            raise SlAssetsError(f"suffix {suffix!r} has {len(suffix)} characters: at most {LONGEST_SUFFIX}")
        self._model = model
        self._endpoint = endpoint
        self._budget = budget
        self._suffix = suffix
        self._batch_size = batch_size
        self._learning_rate_multiplier = learning_rate_multiplier
        self._poll_seconds = poll_seconds

    def train(
        self,
        examples: Sequence[Example],
        settings: TrainingSettings,
        keep: Sequence[int],
        folder: Path,
        report: Report,
        work: Work | None = None,
    ) -> pl.DataFrame:
        """See `Trainer.train`; an adapter is a ``model.json`` that names a fine-tuned model.

        The table has the steps that the API reported; none, if it reported none.

        Raises:
            DatasetError: too few rows, an empty text, or more than the API takes.
            SlAssetsError: an epoch that the API will not keep, a passed cap, a job that failed or was cancelled.
            ServiceError: the API refused, failed or cannot be reached.
        """
        _check_keep(keep, settings.epochs)
        _check_texts(examples)
        content = jsonl([{"messages": _messages(example)} for example in examples])
        if len(content) > LARGEST_UPLOAD:
            raise DatasetError(
                f"the rows make {len(content):,} bytes, the API takes {LARGEST_UPLOAD:,}: lower max_rows"
            )
        wanted = {
            "model": self._model,
            "seed": settings.seed,
            "suffix": self._suffix,
            "method": {
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {
                        "n_epochs": settings.epochs,
                        "batch_size": self._batch_size,
                        "learning_rate_multiplier": self._learning_rate_multiplier,
                    }
                },
            },
        }
        started = Started(work, STATE, self._endpoint.base_url, wanted, content.decode())
        with self._endpoint.client() as client:
            job = self._trained(client, examples, content, wanted, started, report)
            with self._endpoint.errors_explained():
                events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
                checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=100))
        losses = dict(sorted(point for event in events for point in _points(event)))
        # What the API states, else what was seen: whether it counts an epoch's incomplete batch, it does not say.
        seen = max([*losses, *(checkpoint.step_number for checkpoint in checkpoints)], default=0)
        total = _stated_total(events) or seen or _total(job, len(examples), settings.epochs)
        models = {_epoch(c.step_number, total, settings.epochs): c.fine_tuned_model_checkpoint for c in checkpoints}
        # The last model has a name of its own, whatever the list of checkpoints says.
        models[settings.epochs] = str(job.fine_tuned_model)
        _write_models(job.id, models, keep, folder)
        if losses:
            report(total, total, losses[max(losses)])
        return _curve(losses, total, settings)

    def _trained(
        self,
        client: openai.OpenAI,
        examples: Sequence[Example],
        content: bytes,
        wanted: dict[str, Any],
        started: Started,
        report: Report,
    ) -> FineTuningJob:
        """The job, once it has succeeded: the one that an earlier run started, or a new one."""
        epochs = wanted["method"]["supervised"]["hyperparameters"]["n_epochs"]
        try:
            job = self._started_before(client, started)
            # The bill of a job that is taken up comes to this run, unless an earlier one has had it.
            reservation = None
            if "billed" not in started.state:
                reservation = self._reserve(examples, epochs, started, new=job is None)
            if job is None:
                job = self._start(client, content, wanted, started, reservation)
            return self._watch(client, job, len(examples), epochs, started, report, reservation)
        except ServiceError as error:
            if "job" in started.state:
                hint = f"; job {started.state['job']} goes on there: run again to take it up"
                raise type(error)(f"{error}{hint}") from None
            raise
        except BaseException:
            self._cancel(client, started)
            raise

    def _reserve(self, examples: Sequence[Example], epochs: int, started: Started, new: bool) -> Reservation:
        """Say what the job may cost, and reserve it, held against the cap if it is a ``new`` one."""
        counter = counter_for(self._model)
        tokens = Tokens(training=epochs * sum(counter.chat(_messages(example)) for example in examples))
        purpose = f"fine-tuning {self._model} on {len(examples):,} rows"
        self._budget.expect(tokens, purpose, counter.how)
        known = started.state.get("reservation")
        if new:
            reservation = self._budget.reserve(tokens, self._model, purpose, counter.how, instead_of=known)
        else:
            reservation = self._budget.take_up(known, tokens, self._model)
        started.note(reservation=reservation.id)
        return reservation

    def _started_before(self, client: openai.OpenAI, started: Started) -> FineTuningJob | None:
        """The job of an interrupted run, found by its file if the run ended before it could note the job."""
        with self._endpoint.errors_explained():
            if "job" in started.state:
                try:
                    return self._checked(client.fine_tuning.jobs.retrieve(started.state["job"]))
                except openai.NotFoundError:
                    started.forget()
            elif "file" in started.state:
                for job in client.fine_tuning.jobs.list(limit=100):
                    if job.training_file == started.state["file"]:
                        started.note(job=job.id)
                        return job
        return None

    def _start(
        self,
        client: openai.OpenAI,
        content: bytes,
        wanted: dict[str, Any],
        started: Started,
        reservation: Reservation | None,
    ) -> FineTuningJob:
        try:
            with self._endpoint.errors_explained(self._model):
                file = client.files.create(file=("students.jsonl", content), purpose="fine-tune")
                started.note(file=self._endpoint.checked(file, "id").id)
            with self._endpoint.errors_explained(self._model, training=True):
                # Not retried: a try that timed out may have started a job. The next run finds it by its file.
                once = client.with_options(max_retries=0)
                job: FineTuningJob = self._checked(once.fine_tuning.jobs.create(training_file=file.id, **wanted))
                started.note(job=job.id)
        except ServiceError as error:
            if error.refused and reservation:
                reservation.settle()
                started.forget("reservation")
            raise
        return job

    def _watch(
        self,
        client: openai.OpenAI,
        job: FineTuningJob,
        rows: int,
        epochs: int,
        started: Started,
        report: Report,
        reservation: Reservation | None,
    ) -> FineTuningJob:
        reported = 0
        while job.status not in ENDED:
            time.sleep(self._poll_seconds)
            with self._endpoint.errors_explained():
                job = self._checked(client.fine_tuning.jobs.retrieve(job.id))
                newest = client.fine_tuning.jobs.list_events(job.id, limit=20).data
            alive()
            losses = dict(point for event in newest for point in _points(event))
            step = max(losses, default=0)
            if step > reported:
                reported = step
                total = _stated_total(newest) or _total(job, rows, epochs)
                report(step, max(step, total), losses[step])
        if reservation:
            _settle(reservation, job)
            started.note(billed=True)
        if job.status != "succeeded":
            started.forget()
            reason = (job.error and job.error.message) or "no reason given"
            raise SlAssetsError(
                f"fine-tuning job {job.id} {job.status}: {without_key(reason)}; run again to start anew"
            )
        return job

    def _cancel(self, client: openai.OpenAI, started: Started) -> None:
        """Cancel the job, if there is one; a job that cannot be cancelled is taken up by the next run.

        How far it came the API may charge without saying so: it stays counted as it was reserved.
        """
        # Whoever interrupted the run is waiting.
        client = client.with_options(max_retries=1, timeout=10)
        try:
            job = self._started_before(client, started)
            # None was found, or one to keep: the next run looks again.
            if job is None or job.status == "succeeded":
                return
            if job.status not in ENDED:
                client.fine_tuning.jobs.cancel(job.id)
        except (openai.OpenAIError, ServiceError):
            return
        started.forget()

    def _checked(self, job: FineTuningJob) -> FineTuningJob:
        return self._endpoint.checked(job, "id", "status", "hyperparameters")


def _settle(reservation: Reservation, job: FineTuningJob) -> None:
    """Note the bill of ``job``, which is over; of one that was cancelled the API may not say it: then it stays open."""
    if job.status == "cancelled" and job.trained_tokens is None:
        return
    reservation.pay(Tokens(training=job.trained_tokens or 0))
    reservation.settle()


def _messages(example: Example) -> Chat:
    return [*chat(example.prompt, example.system), {"role": "assistant", "content": example.completion}]


def _check_keep(keep: Sequence[int], epochs: int) -> None:
    first = max(1, epochs - KEPT_CHECKPOINTS + 1)
    if lost := [epoch for epoch in keep if not first <= epoch <= epochs]:
        raise SlAssetsError(
            f"keep_epochs {lost[0]}: of {epochs} epochs the API keeps the last {KEPT_CHECKPOINTS}; "
            f"keep {first} to {epochs}, or train for fewer"
        )


def _check_texts(examples: Sequence[Example]) -> None:
    if len(examples) < FEWEST_ROWS:
        raise DatasetError(f"{len(examples)} rows: the API fine-tunes on {FEWEST_ROWS} or more")
    for row, example in enumerate(examples):
        for name, text in (("prompt", example.prompt), ("completion", example.completion)):
            if not text.strip():
                raise DatasetError(f"row {row} has an empty {name}: the API refuses it; filter such rows out")


def _points(event: Any) -> Iterator[tuple[int, float]]:
    """Step and training loss, if ``event`` has them."""
    data = getattr(event, "data", None)
    if not isinstance(data, dict):
        return
    step, loss = data.get("step"), data.get("train_loss")
    if isinstance(step, int | float) and isinstance(loss, int | float) and math.isfinite(loss):
        yield int(step), float(loss)


def _stated_total(events: Sequence[Any]) -> int:
    """Number of steps, from the first event that states it; 0 if none does."""
    for event in events:
        data = getattr(event, "data", None)
        if isinstance(data, dict) and isinstance(total := data.get("total_steps"), int):
            return total
        if found := re.match(r"Step \d+/(\d+)", str(getattr(event, "message", ""))):
            return int(found[1])
    return 0


def _total(job: FineTuningJob, rows: int, epochs: int) -> int:
    """Number of steps by the job's batch size; 0 as long as the API has not chosen one."""
    batch = job.hyperparameters.batch_size if job.hyperparameters else None
    return math.ceil(rows / batch) * epochs if isinstance(batch, int) else 0


def _epoch(step: int, total: int, epochs: int) -> int:
    """The epoch that ends next to ``step``."""
    return round(step * epochs / total) if total else 0


def _write_models(job: str, models: dict[int, str], keep: Sequence[int], folder: Path) -> None:
    """Write the name of every kept epoch's model.

    Raises:
        SlAssetsError: the API has no model of one of them.
    """
    if missing := [epoch for epoch in keep if epoch not in models]:
        raise SlAssetsError(
            f"fine-tuning job {job} has no checkpoint of epoch {missing[0]} (of {sorted(models)}): "
            "drop it from keep_epochs"
        )
    for epoch in keep:
        adapter = folder / f"epoch={epoch}"
        adapter.mkdir(parents=True, exist_ok=True)
        (adapter / MODEL_FILE).write_text(json.dumps({"model": models[epoch]}) + "\n", encoding="utf-8")


def _curve(losses: Losses, total: int, settings: TrainingSettings) -> pl.DataFrame:
    rows = [
        {
            "seed": settings.seed,
            "step": step,
            "epoch": step * settings.epochs / total,
            "loss": loss,
            "learning_rate": 0.0,
        }
        for step, loss in losses.items()
    ]
    return pl.DataFrame(rows, schema=TABLES["training"].schema)
