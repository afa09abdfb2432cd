"""An HTTP server on loopback that speaks as much of OpenAI's API as the engine uses, and misbehaves when told to.

It counts requests, keeps what was uploaded, and answers a chat with its own words back: model, last message and seed.
Fine-tuning jobs move a few steps on every look at them, unless they are held.
"""

import json
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

KEY = "sk-planted-0123456789abcdef"
BASE, TUNABLE = "tiny-chat", "tiny-tunable"
JOB_BATCH = 4
"""Rows a step of every job."""


@dataclass
class Reply:
    """What is sent instead of the real answer.

    Attributes:
        status: HTTP status.
        body: JSON, or text to be sent as it is.
        headers: further headers.
        delay: seconds before it is sent.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


def error(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """A refusal in OpenAI's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": message, "code": code, "type": "t", "param": None}}, named)


class OpenAIServer:
    """The API's state, and how it is to behave.

    Attributes:
        url: base URL.
        requests: ``METHOD path`` of every request, counted; ids are written ``*``.
        chats: bodies of the chats asked for.
        answered: the same, as they were answered.
        faults: replies for the next requests, whatever they ask.
        fault_for: a reply for some chats, or None.
        delay_for: seconds a chat's answer takes.
        most_at_once: chats that were under way together.
        uploads: id, purpose and content of every file that was uploaded.
        hold: batches and jobs make no progress.
        interrupt_at: a request at which this process is interrupted as by Ctrl-C, once.
        job_failure: the reason for which jobs fail.
        drop_last: an epoch's incomplete batch makes no step.
        state_total: events state the number of steps.
        checkpoint_epochs: epochs whose models are listed, counted from the last.
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.chats: list[dict[str, Any]] = []
        self.answered: list[dict[str, Any]] = []
        self.faults: deque[Reply] = deque()
        self.fault_for: Callable[[dict[str, Any]], Reply | None] = lambda _: None
        self.delay_for: Callable[[dict[str, Any]], float] = lambda _: 0.0
        self.most_at_once = self._at_once = 0
        self.uploads: list[tuple[str, str, str]] = []
        self.hold = False
        self.interrupt_at = ""
        self.job_failure = ""
        self.drop_last, self.state_total = False, True
        self.checkpoint_epochs = 3
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.models = {BASE, TUNABLE}
        self.lock = threading.Lock()
        self.url = ""

    @property
    def total(self) -> int:
        """Number of requests."""
        return self.requests.total()

    def reply(self, method: str, path: str, query: dict[str, str], body: bytes, headers: Any) -> Reply:
        """The answer to one request."""
        parts = path.removeprefix("/v1/").split("/")
        place = "/".join("*" if part in self.files | self.batches | self.jobs else part for part in parts)
        with self.lock:
            self.requests[f"{method} {place}"] += 1
            if self.interrupt_at == f"{method} {place}":
                self.interrupt_at = ""
                os.kill(os.getpid(), signal.SIGINT)
            if self.faults:
                return self.faults.popleft()
        if headers["Authorization"] != f"Bearer {KEY}":
            return error(401, f"Incorrect API key provided: {headers['Authorization']}.", "invalid_api_key")
        if place == "chat/completions":
            return self._chat(json.loads(body))
        with self.lock:
            answer = self._routes()[f"{method} {place}"](parts, query, body, headers)
        return answer if isinstance(answer, Reply) else Reply(200, answer)

    def _routes(self) -> dict[str, Callable[..., Any]]:
        return {
            "POST files": lambda parts, query, body, headers: self._upload(body, headers),
            "GET files/*/content": lambda parts, *_: Reply(200, self.files[parts[1]].decode()),
            "POST batches": lambda parts, query, body, _: self._new_batch(json.loads(body)),
            "GET batches": lambda *_: _listed(list(self.batches.values())),
            "GET batches/*": lambda parts, *_: self._batch(parts[1]),
            "POST batches/*/cancel": lambda parts, *_: self._cancelled(self.batches[parts[1]]),
            "POST fine_tuning/jobs": lambda parts, query, body, _: self._new_job(json.loads(body)),
            "GET fine_tuning/jobs": lambda *_: _listed([_public(job) for job in self.jobs.values()]),
            "GET fine_tuning/jobs/*": lambda parts, *_: self._job(parts[2]),
            "POST fine_tuning/jobs/*/cancel": lambda parts, *_: self._cancelled(self.jobs[parts[2]]),
            "GET fine_tuning/jobs/*/events": lambda parts, query, *_: self._events(self.jobs[parts[2]], query),
            "GET fine_tuning/jobs/*/checkpoints": lambda parts, *_: self._checkpoints(self.jobs[parts[2]]),
        }

    def _chat(self, request: dict[str, Any]) -> Reply:
        with self.lock:
            self.chats.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.delay_for(request))
            return self.fault_for(request) or self.answer(request)
        finally:
            with self.lock:
                self.answered.append(request)
                self._at_once -= 1

    def answer(self, request: dict[str, Any]) -> Reply:
        """The completion of ``request``: three words, a token each."""
        if request["model"] not in self.models:
            return error(404, f"The model `{request['model']}` does not exist", "model_not_found")
        words = [request["model"], request["messages"][-1]["content"], str(request["seed"])]
        limit = request.get("max_completion_tokens", request.get("max_tokens"))
        return Reply(200, completion(" ".join(words[:limit]), "length" if limit < len(words) else "stop", limit))

    def _upload(self, body: bytes, headers: Any) -> dict[str, Any]:
        form = message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}  # type: ignore[union-attr]
        content, purpose = fields["file"].get_payload(decode=True), fields["purpose"].get_payload().strip()  # type: ignore[union-attr]
        name = self._add_file(content)  # type: ignore[arg-type]
        self.uploads.append((name, purpose, content.decode()))  # type: ignore[union-attr,arg-type]
        return {"id": name, "object": "file", "bytes": len(content), "created_at": 0, "purpose": purpose}

    def _add_file(self, content: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return name

    def _new_batch(self, request: dict[str, Any]) -> dict[str, Any]:
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {"id": name, "object": "batch", "status": "validating", "created_at": 0, **request}
        return self.batches[name]

    def _batch(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        if batch["status"] == "validating" and not self.hold:
            written: dict[bool, list[str]] = {True: [], False: []}
            # The last is answered first: nothing promises the order of the file.
            for line in reversed(self.files[batch["input_file_id"]].splitlines()):
                row = json.loads(line)
                self.chats.append(row["body"])
                answer = self.fault_for(row["body"]) or self.answer(row["body"])
                response = {"status_code": answer.status, "body": answer.body}
                good = answer.status == 200
                written[good].append(json.dumps({"custom_id": row["custom_id"], "response": response, "error": None}))
            outputs = {good: self._add_file("\n".join(lines).encode()) for good, lines in written.items() if lines}
            batch |= {"output_file_id": outputs.get(True), "error_file_id": outputs.get(False), "status": "completed"}
        return batch

    def _new_job(self, request: dict[str, Any]) -> Reply | dict[str, Any]:
        if request["model"] not in self.models:
            return error(400, f"invalid model {request['model']}", "model_not_available")
        rows = len(self.files[request["training_file"]].splitlines())
        epochs = request["method"]["supervised"]["hyperparameters"]["n_epochs"]
        steps = (rows // JOB_BATCH if self.drop_last else -(-rows // JOB_BATCH)) * epochs
        name = f"ftjob-{len(self.jobs)}"
        self.jobs[name] = request | {
            "id": name, "object": "fine_tuning.job", "status": "queued", "created_at": 0, "step": 0, "error": None,
            "epochs": epochs, "steps": steps, "fine_tuned_model": None,
            "hyperparameters": {"n_epochs": epochs, "batch_size": JOB_BATCH},
        }  # fmt: skip
        return _public(self.jobs[name])

    def _job(self, name: str) -> dict[str, Any]:
        job = self.jobs[name]
        if job["status"] in ("queued", "running") and not self.hold:
            job["status"] = "running"
            job["step"] = min(job["step"] + 4, job["steps"])
            if self.job_failure:
                job |= {"status": "failed", "error": {"code": "c", "message": self.job_failure, "param": None}}
            elif job["step"] == job["steps"]:
                tuned = f"ft:{job['model']}:{job['suffix']}:{name}"
                job |= {"status": "succeeded", "fine_tuned_model": tuned, "trained_tokens": 1_000_000}
        return _public(job)

    def _cancelled(self, thing: dict[str, Any]) -> dict[str, Any]:
        thing["status"] = "cancelled"
        return _public(thing)

    def _events(self, job: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        """From the newest to the oldest; every step is one, and so is the creation."""
        total = f"/{job['steps']}" if self.state_total else ""
        events = [
            {
                "id": f"event-{step}", "object": "fine_tuning.job.event", "created_at": step, "level": "info",
                "type": "metrics", "message": f"Step {step}{total}: training loss={loss(step):.2f}",
                "data": {"step": step, "train_loss": loss(step), "train_mean_token_accuracy": 0.5},
            }
            for step in range(job["step"], 0, -1)
        ]  # fmt: skip
        events.append({"id": "event-0", "object": "fine_tuning.job.event", "level": "info", "message": "Created"})
        start = [event["id"] for event in events].index(query["after"]) + 1 if "after" in query else 0
        end = start + int(query.get("limit", 20))
        return _listed(events[start:end], more=end < len(events))

    def _checkpoints(self, job: dict[str, Any]) -> dict[str, Any]:
        epochs = range(job["epochs"], max(0, job["epochs"] - self.checkpoint_epochs), -1)
        steps = [job["steps"] * epoch // job["epochs"] for epoch in epochs]
        return _listed(
            [
                {
                    "id": f"ftckpt-{step}", "object": "fine_tuning.job.checkpoint", "step_number": step,
                    "fine_tuned_model_checkpoint": f"{job['fine_tuned_model']}:ckpt-step-{step}", "metrics": {},
                }
                for step in steps
            ]
        )  # fmt: skip


def completion(text: str | None, finish_reason: str, tokens: int) -> dict[str, Any]:
    """The body of an answer."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": BASE,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "stop_reason": "wrong field"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens},
    }  # fmt: skip


def loss(step: int) -> float:
    """Training loss that jobs report at ``step``."""
    return 2.0 / step


def _public(thing: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if name not in ("step", "steps", "epochs")}


def _listed(things: list[Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": things, "has_more": more}


Kind = TypeVar("Kind", bound=OpenAIServer)


@contextmanager
def serving(server: Kind) -> Iterator[Kind]:
    """Have ``server`` answer on a port of its own, for the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body go out apart: without this each waits for the other's acknowledgement.
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            reply = server.reply(self.command, url.path, query, body, self.headers)
            time.sleep(reply.delay)
            content = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_POST = _serve  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        # Connections beyond the queue would be tried again a second later.
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@contextmanager
def running() -> Iterator[OpenAIServer]:
    """A server of its own for the block."""
    with serving(OpenAIServer()) as server:
        yield server
