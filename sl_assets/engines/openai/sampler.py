"""Sampling from OpenAI's API, or one that speaks like it: many requests at once, or one batch.

Every chat is sent its own seed, so the same call asks the same. Whether the same answers come back is up to the API,
which promises no more than to try. An adapter is the folder of a fine-tuned model's name. Limits: chat completions
only; a batch has at most 50,000 chats; an error loses the answers of the call that were already paid for, unless the
Batch API gave them and there is a `Work` to keep them. Imports openai.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import openai

from sl_assets.engines.interfaces import Chat, Completion, Steering
from sl_assets.engines.openai.budget import UNLIMITED, Budget, Reservation, Tokens, counter_for
from sl_assets.engines.openai.client import (
    ANOTHER_MODEL,
    GONE,
    OPENAI,
    Endpoint,
    ServiceError,
    Started,
    jsonl,
    without_key,
)
from sl_assets.errors import SlAssetsError
from sl_assets.lake.work import Work
from sl_assets.liveness import alive

CHAT_COMPLETIONS: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MODEL_FILE = "model.json"
MOST_BATCHED, MOST_BATCHED_BYTES = 50_000, 200_000_000
"""What the Batch API takes in one file."""

ENDED = ("completed", "failed", "expired", "cancelled")
STATE = "openai_batch.json"

Request = dict[str, Any]
Answered = tuple[Completion, Tokens]


class OpenAISampler:
    """Completions of ``model``, or of the fine-tuned model that an adapter's folder names.

    Args:
        model: the API's name of it.
        endpoint: where the API is.
        budget: prices, and a cap that a call is held against before its first request.
        concurrency: requests under way at the same time.
        batch_api: use the Batch API, which takes up to a day.
        poll_seconds: time between two looks at a batch.
        work: keeps the id of a running batch, so that an interrupted run does not pay twice.
    """

    def __init__(
        self,
        model: str,
        *,
        endpoint: Endpoint = OPENAI,
        budget: Budget = UNLIMITED,
        concurrency: int = 16,
        batch_api: bool = False,
        poll_seconds: float = 30.0,
        work: Work | None = None,
    ) -> None:
        self._model = model
        self._endpoint = endpoint
        self._budget = budget
        self._concurrency = concurrency
        self._batch_api = batch_api
        self._poll_seconds = poll_seconds
        self._work = work

    def expect(self, chats: Sequence[Chat], most_written: int) -> None:
        """See `Priced.expect`; rows that a batch of an interrupted run has answered already are counted, too."""
        tokens, how = self._count(chats, most_written)
        self._budget.expect(tokens, f"asking {self._model} or its students {len(chats):,} times", how)

    def _count(self, chats: Sequence[Chat], most_written: int) -> tuple[Tokens, str]:
        """Most tokens that asking ``chats`` takes, and how they were counted."""
        counter = counter_for(self._model)
        return Tokens(input=sum(map(counter.chat, chats)), output=most_written), counter.how

    def sample(
        self,
        chats: Sequence[Chat],
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        row_seeds: Sequence[int],
        top_p: float = 1.0,
        adapter: Path | None = None,
        steering: Steering | None = None,
    ) -> list[Completion]:
        """See `Sampler.sample`; every chat is drawn by its own seed, so ``seed`` has no part.

        Finish reasons other than ``stop`` and ``length`` are the API's own words.

        Raises:
            SlAssetsError: steering was asked for, an adapter names no model, the cap would be passed, a batch failed.
            ServiceError: the API refused, failed or cannot be reached.
        """
        if steering is not None:
            raise SlAssetsError("the openai engine cannot steer: hidden states stay with the API; use transformers")
        model = fine_tuned_model(adapter) if adapter else self._model
        requests = [
            {
                "model": model,
                "messages": list(chat),
                "temperature": temperature,
                # Left out where it is the API's own, as in batches of before there was one.
                **({} if top_p == 1 else {"top_p": top_p}),
                self._endpoint.limit_field: max_tokens,
                "seed": row_seed,
            }
            for chat, row_seed in zip(chats, row_seeds, strict=True)
        ]
        if not requests:
            return []
        if self._batch_api:
            return self._batched(requests, max_tokens)
        reservation = self._reserve(requests, max_tokens)
        with reservation.settled():
            return asyncio.run(self._ask_all(requests, max_tokens, reservation))

    def _reserve(self, requests: Sequence[Request], max_tokens: int, instead_of: str | None = None) -> Reservation:
        tokens, how = self._count([request["messages"] for request in requests], len(requests) * max_tokens)
        model = requests[0]["model"]
        return self._budget.reserve(tokens, model, f"asking {model} {len(requests):,} times", how, instead_of)

    async def _ask_all(
        self, requests: Sequence[Request], max_tokens: int, reservation: Reservation
    ) -> list[Completion]:
        places = asyncio.Semaphore(self._concurrency)
        async with self._endpoint.async_client() as client:

            async def ask(request: Request) -> Completion:
                async with places:
                    return await self._ask(client, request, max_tokens, reservation)

            try:
                # The first error ends the group, and with it every request that waits or runs.
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(ask(request)) for request in requests]
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _ask(
        self, client: openai.AsyncOpenAI, request: Request, max_tokens: int, reservation: Reservation
    ) -> Completion:
        try:
            with self._endpoint.errors_explained(request["model"]):
                # The body itself: the client would fill gaps in it and keep text that is no JSON.
                answer = await client.chat.completions.with_raw_response.create(**request)
                body = json.loads(answer.text)
            completion, tokens = self._read(body)
        except BaseException as error:
            # Cancelled, unanswered or unreadable, it may have been charged.
            if not (isinstance(error, ServiceError) and error.refused):
                reservation.lose(self._count([request["messages"]], max_tokens)[0])
            raise
        reservation.pay(tokens)
        return completion

    def _read(self, body: Any) -> Answered:
        try:
            choice, usage = body["choices"][0], body["usage"]
            text, reason = choice["message"].get("content") or "", str(choice["finish_reason"])
            tokens = Tokens(input=int(usage["prompt_tokens"]), output=int(usage["completion_tokens"]))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise self._endpoint.unexpected("no choices or no usage") from None
        return Completion(str(text), reason, tokens.output), tokens

    def _batched(self, requests: Sequence[Request], max_tokens: int) -> list[Completion]:
        """Through the Batch API: rows that an earlier batch answered are not asked again."""
        started = Started(self._work, STATE, self._endpoint.base_url, list(requests))
        answered: dict[str, list[Any]] = started.state.get("answered", {})
        if len(answered) < len(requests):
            with self._endpoint.client() as client:
                batch = self._ended_batch(client, requests, max_tokens, started)
                answered, reasons, bill = self._results(client, batch, answered)
            # Last: a file that breaks off is read again, and its bill noted once, under the same id.
            self._settle(started, bill, requests, max_tokens)
            # At once: from here on nothing of this batch is needed or asked again.
            started.note(answered=answered)
            started.forget("file", "batch", "reservation")
            if missing := len(requests) - len(answered):
                reason = next((reason for reason in reasons if reason), f"the batch {batch.status} before them")
                raise SlAssetsError(f"batch {batch.id}: {missing} of {len(requests)} rows failed: {reason}")
        return [Completion(*answered[_row_id(index)]) for index in range(len(requests))]

    def _settle(self, started: Started, bill: Tokens, requests: Sequence[Request], max_tokens: int) -> None:
        most, _ = self._count([request["messages"] for request in requests], len(requests) * max_tokens)
        reservation = self._budget.take_up(started.state.get("reservation"), most, requests[0]["model"])
        reservation.pay(bill)
        reservation.settle()

    def _ended_batch(
        self, client: openai.OpenAI, requests: Sequence[Request], max_tokens: int, started: Started
    ) -> openai.types.Batch:
        try:
            batch = self._running_batch(client, started) or self._new_batch(client, requests, max_tokens, started)
            while batch.status not in ENDED:
                time.sleep(self._poll_seconds)
                with self._endpoint.errors_explained():
                    batch = self._endpoint.checked(client.batches.retrieve(batch.id), "id", "status")
                alive()
        except BaseException:
            # Nobody would ever take it up.
            if not started.survives and "batch" in started.state:
                _cancel_batch(client, started.state["batch"])
            raise
        return batch

    def _running_batch(self, client: openai.OpenAI, started: Started) -> openai.types.Batch | None:
        """The batch of an interrupted run, found by its file if the run ended before it could note the batch."""
        with self._endpoint.errors_explained():
            if "batch" in started.state:
                try:
                    return self._endpoint.checked(client.batches.retrieve(started.state["batch"]), "id", "status")
                except openai.NotFoundError:
                    # What it was charged nobody knows: it stays counted.
                    started.forget("file", "batch", "reservation")
            elif "file" in started.state:
                for batch in client.batches.list(limit=100):
                    if batch.input_file_id == started.state["file"]:
                        started.note(batch=batch.id)
                        return batch
        return None

    def _new_batch(
        self, client: openai.OpenAI, requests: Sequence[Request], max_tokens: int, started: Started
    ) -> openai.types.Batch:
        answered = started.state.get("answered", {})
        left = [index for index in range(len(requests)) if _row_id(index) not in answered]
        content = jsonl(
            [
                {"custom_id": _row_id(index), "method": "POST", "url": CHAT_COMPLETIONS, "body": requests[index]}
                for index in left
            ]
        )
        if len(left) > MOST_BATCHED or len(content) > MOST_BATCHED_BYTES:
            raise SlAssetsError(
                f"{len(left):,} chats ({len(content):,} bytes) are too many for one batch, which takes "
                f"{MOST_BATCHED:,} and {MOST_BATCHED_BYTES:,} bytes: sample fewer together"
            )
        asked = [requests[index] for index in left]
        reservation = self._reserve(asked, max_tokens, instead_of=started.state.get("reservation"))
        started.note(reservation=reservation.id)
        try:
            with self._endpoint.errors_explained(requests[0]["model"]):
                file = client.files.create(file=("requests.jsonl", content), purpose="batch")
                started.note(file=self._endpoint.checked(file, "id").id)
                # Not retried: a try that timed out may have started a batch. The next run finds it by its file.
                batch = client.with_options(max_retries=0).batches.create(
                    input_file_id=file.id, endpoint=CHAT_COMPLETIONS, completion_window="24h"
                )
                started.note(batch=self._endpoint.checked(batch, "id", "status").id)
        except ServiceError as error:
            if error.refused:
                reservation.settle()
                started.forget("reservation")
            raise
        return batch

    def _results(
        self, client: openai.OpenAI, batch: openai.types.Batch, answered: dict[str, list[Any]]
    ) -> tuple[dict[str, list[Any]], list[str], Tokens]:
        """All completions by row, those of before included, why the others failed, and what the batch is charged."""
        answered, bill = dict(answered), Tokens()
        reasons = [_reason(error.to_dict(), None) for error in (batch.errors and batch.errors.data) or ()]
        for file in (batch.output_file_id, batch.error_file_id):
            for line in self._lines(client, file):
                try:
                    name, response, error = str(line["custom_id"]), line.get("response") or {}, line.get("error")
                    body, status = response.get("body"), response.get("status_code")
                except (KeyError, TypeError, AttributeError):
                    raise self._endpoint.unexpected("a batch row that is none") from None
                if error or status != 200:
                    reasons.append(_reason(error, body))
                    continue
                completion, tokens = self._read(body)
                answered[name] = list(completion)
                bill = bill.plus(tokens)
        return answered, reasons, bill

    def _lines(self, client: openai.OpenAI, file: str | None) -> list[Any]:
        if not file:
            return []
        with self._endpoint.errors_explained():
            return [json.loads(line) for line in client.files.content(file).content.splitlines() if line.strip()]


def fine_tuned_model(adapter: Path) -> str:
    """The model that ``adapter``, a folder with a ``model.json``, stands for.

    Raises:
        SlAssetsError: there is no such file, or no name in it.
    """
    file = adapter / MODEL_FILE
    try:
        model = json.loads(file.read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        model = None
    if not isinstance(model, str) or not model:
        raise SlAssetsError(
            f'{file} names no fine-tuned model ({{"model": "ft:..."}}): train it with the openai engine'
        )
    return model


def _row_id(index: int) -> str:
    return f"row-{index:06}"


def _reason(error: Any, body: Any) -> str:
    """Why a row failed, from wherever the API says so."""
    problem = error or (body.get("error") if isinstance(body, dict) else None) or body
    code = problem.get("code") if isinstance(problem, dict) else None
    message = problem.get("message") or code if isinstance(problem, dict) else problem
    return without_key(str(message))[:300] + (f"; {ANOTHER_MODEL}" if code in GONE else "")


def _cancel_batch(client: openai.OpenAI, batch: str) -> None:
    try:
        client.batches.cancel(batch)
    except openai.OpenAIError:
        # What interrupted the run matters more; the batch ends by itself within a day.
        return
