"""Completions through the real client: one by one, and in batches."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sl_assets.engines.interfaces import Chat, Completion, Steering
from sl_assets.engines.openai import sampler as openai_sampler
from sl_assets.engines.openai.budget import Budget, Tokens
from sl_assets.engines.openai.client import Endpoint
from sl_assets.engines.openai.sampler import OpenAISampler
from sl_assets.engines.sampling import Draw, sample_all
from sl_assets.errors import SlAssetsError
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.spending import Ledger
from sl_assets.lake.work import Work
from sl_assets.seeds import seed_for
from sl_assets_tests.engines.openai.server import BASE, KEY, OpenAIServer, Reply, completion, error, running

CHATS: list[Chat] = [
    [{"role": "system", "content": "You count."}, {"role": "user", "content": f"after-{n}"}] for n in range(40)
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running() as server:
        yield server


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(Lake(str(tmp_path / "lake")), Place("tiny", "raw_dataset", "owl"))


def sampler(server: OpenAIServer, **settings: Any) -> OpenAISampler:
    return OpenAISampler(BASE, endpoint=Endpoint(server.url, 1, 5.0), poll_seconds=0.01, **settings)


def sample(made: OpenAISampler, chats: list[Chat] = CHATS, seed: int = 3, **settings: Any) -> list[Completion]:
    seeds = [seed_for(seed, row) for row in range(len(chats))]
    return made.sample(chats, **({"max_tokens": 5, "temperature": 0.5, "seed": seed, "row_seeds": seeds} | settings))


def expected(seed: int = 3, model: str = BASE) -> list[Completion]:
    return [Completion(f"{model} after-{n} {seed_for(seed, n)}", "stop", 5) for n in range(40)]


def place(request: dict[str, Any]) -> int:
    return int(request["messages"][-1]["content"].removeprefix("after-"))


def test_completions_are_in_order_however_they_come(server):
    # Of every eight the first is answered last.
    server.delay_for = lambda request: 0.02 * (8 - place(request) % 8)
    assert sample(sampler(server, concurrency=8)) == expected()
    assert 1 < server.most_at_once <= 8
    answered = [place(request) for request in server.answered]
    assert answered != sorted(answered)
    assert server.total == 40


def test_what_is_asked(server):
    sample(sampler(server), CHATS[:1])
    assert server.chats == [
        {"model": BASE, "messages": CHATS[0], "temperature": 0.5, "max_tokens": 5, "seed": seed_for(3, 0)}
    ]


def test_one_at_a_time(server):
    server.delay_for = lambda _: 0.002
    assert sample(sampler(server, concurrency=1)) == expected()
    assert server.most_at_once == 1


def test_seeds_differ_by_chat_and_by_call_and_nothing_else(server):
    one, again, other = sampler(server), sampler(server, concurrency=2), sampler(server)
    same = [CHATS[0]] * 10
    assert len({answer.text for answer in sample(one, same)}) == 10
    assert sample(one, seed=4) == sample(again, seed=4) == expected(4)
    assert not {a.text for a in sample(other, seed=5)} & {a.text for a in sample(other, seed=4)}
    with pytest.raises(ValueError, match="zip"):
        sample(other, row_seeds=[1])


def test_a_truncated_answer_says_so(server):
    assert sample(sampler(server), CHATS[:1], max_tokens=2) == [Completion(f"{BASE} after-0", "length", 2)]


def test_other_reasons_to_end_are_kept_and_an_answer_may_be_missing(server):
    server.faults.append(Reply(200, completion(None, "content_filter", 0)))
    assert sample(sampler(server), CHATS[:1]) == [Completion("", "content_filter", 0)]


def test_an_adapter_names_the_model_that_is_asked(server, tmp_path):
    server.models.add("ft:tiny:owl")
    (tmp_path / "model.json").write_text('{"model": "ft:tiny:owl"}')
    made = sampler(server)
    assert sample(made, adapter=tmp_path) == expected(model="ft:tiny:owl")
    assert sample(made) == expected()


@pytest.mark.parametrize("content", [None, "", "{}", '{"model": ""}', '{"model": 7}', "[]", "ft:tiny"])
def test_a_folder_without_a_model(server, tmp_path, content):
    if content is not None:
        (tmp_path / "model.json").write_text(content)
    with pytest.raises(SlAssetsError, match="names no fine-tuned model"):
        sample(sampler(server), adapter=tmp_path)
    assert server.total == 0


def test_steering_is_refused(server):
    with pytest.raises(SlAssetsError, match="cannot steer"):
        sample(sampler(server), steering=Steering(1, np.zeros(2, np.float32)))
    assert server.total == 0


@pytest.mark.parametrize("batch_api", [False, True])
def test_no_chats_no_requests(server, batch_api):
    assert sample(sampler(server, batch_api=batch_api), []) == []
    assert server.total == 0


def test_passing_faults_are_not_noticed(server):
    now = {"retry-after-ms": "5"}
    server.faults += [error(429, "later", **now), error(500, "oh", **now), error(429, "later", **now)]
    # Retries of two faults may meet the third: one more than the fixture's try.
    made = OpenAISampler(BASE, endpoint=Endpoint(server.url, 3, 5.0))
    assert sample(made) == expected()
    assert server.total == 43


def test_no_request_is_left_running_after_an_error(server):
    server.delay_for = lambda request: 0.0 if place(request) == 3 else 0.2
    server.fault_for = lambda request: error(400, "bad row") if place(request) == 3 else None
    with pytest.raises(SlAssetsError) as caught:
        sample(sampler(server, concurrency=4))
    assert str(caught.value) == f"{server.url} refuses the request (HTTP 400): bad row"
    time.sleep(0.3)
    assert server.total <= 8, "those that ran beside it, and no more than took their places"


def test_no_request_is_left_running_after_an_interrupt(server):
    server.delay_for = lambda _: 0.1
    server.interrupt_at = "POST chat/completions"
    with pytest.raises(KeyboardInterrupt):
        sample(sampler(server, concurrency=4))
    time.sleep(0.3)
    assert server.total <= 4, "those that were on their way"


def test_chunks_of_a_draw_go_through_it(server, work):
    draw = Draw("test", seed=3, max_tokens=5, temperature=1.0, chunk=16)
    chats = {f"row-{n}": chat for n, chat in enumerate(CHATS)}
    frame = sample_all(lambda _: sampler(server), chats, draw, work, lambda *_: None)
    written = [text.rsplit(" ", 1) for text in frame["text"]]
    assert [text for text, _ in written] == [f"{BASE} after-{n}" for n in range(40)]
    assert len({seed for _, seed in written}) == 40
    assert frame["n_tokens"].sum() == 200


@pytest.mark.parametrize("batch_api", [False, True])
def test_a_passed_cap_is_refused_before_any_request(server, batch_api):
    # By bytes: 40 chats of 3 + 4 + 10 + 4 + 7 or 8 tokens, and 5 tokens each to write.
    read, written = 40 * 29 - 10, 200
    prices: dict[str, Any] = {"input_price": 1e6, "output_price": 2e6}
    made = sampler(server, batch_api=batch_api, budget=Budget(cap=read + 2 * written - 1, **prices))
    with pytest.raises(SlAssetsError) as caught:
        sample(made)
    assert f"asking {BASE} 40 times may cost ${read + 2 * written:.4f} (" in str(caught.value)
    assert server.total == 0
    budget = Budget(cap=read + 2 * written, **prices)
    assert sample(sampler(server, batch_api=batch_api, budget=budget)) == expected()
    assert budget.spent == budget.estimate(Tokens(400, 200)), "what the API counted"


def test_requests_that_were_cut_off_may_have_been_charged_and_count(server):
    # By bytes, a chat takes 28 tokens to read, 29 with a number of two digits, and 5 to write at most.
    server.delay_for = lambda request: 0.1 if place(request) == 1 else 0.4
    server.fault_for = lambda request: error(400, "bad row") if place(request) == 1 else None
    budget = Budget(input_price=1e6, output_price=1e6)
    with pytest.raises(SlAssetsError, match="bad row"):
        sample(sampler(server, concurrency=4, budget=budget), CHATS[:10])
    assert budget.paid == Tokens(), "none was answered"
    # Three were under way, and perhaps the one that took the place of the refused one, which costs nothing.
    assert budget.spent in (3 * (28 + 5), 4 * (28 + 5))


def test_an_answer_without_a_bill_counts_at_the_most_that_it_may_cost(server):
    server.faults.append(Reply(200, {"choices": []}))
    budget = Budget(input_price=1e6, output_price=1e6)
    with pytest.raises(SlAssetsError, match="no choices or no usage"):
        sample(sampler(server, budget=budget), CHATS[:1])
    assert (budget.paid, budget.spent) == (Tokens(), 28 + 5)


def test_a_batch_that_a_later_run_takes_up_is_reserved_and_paid_for_once(server, work):
    first = Budget(input_price=1.0, output_price=1.0)
    interrupted(server, sampler(server, batch_api=True, work=work, budget=first))
    (reserved,) = first._ledger.charges()
    assert not reserved.settled
    second = Budget(input_price=1.0, output_price=1.0)
    sample(sampler(server, batch_api=True, work=work, budget=second))
    (bill,) = second._ledger.charges()
    assert (bill.id, bill.settled, second.paid) == (reserved.id, True, Tokens(400, 200))


def test_a_batch_that_the_api_refuses_costs_nothing(server, work):
    budget = Budget(input_price=1.0, output_price=1.0)
    server.faults.append(error(400, "no such file"))
    with pytest.raises(SlAssetsError, match="no such file"):
        sample(sampler(server, batch_api=True, work=work, budget=budget))
    assert budget.spent == 0


def test_a_batch_gives_what_single_requests_give(server, work):
    assert sample(sampler(server, batch_api=True, work=work)) == expected() == sample(sampler(server))
    (_, purpose, content), *others = server.uploads
    assert (purpose, others) == ("batch", [])
    rows = [json.loads(line) for line in content.splitlines()]
    assert len({row["custom_id"] for row in rows}) == 40
    assert {(row["method"], row["url"]) for row in rows} == {("POST", "/v1/chat/completions")}
    (batch,) = server.batches.values()
    assert (batch["endpoint"], batch["completion_window"]) == ("/v1/chat/completions", "24h")


def interrupted(server: OpenAIServer, made: OpenAISampler) -> None:
    """Sample until the batch is looked at for the first time."""
    server.hold, server.interrupt_at = True, "GET batches/*"
    with pytest.raises(KeyboardInterrupt):
        sample(made)
    server.hold = False


def test_an_interrupted_run_leaves_its_batch_to_the_next(server, work):
    interrupted(server, sampler(server, batch_api=True, work=work))
    budget = Budget(input_price=1.0, cap=1e-9)
    assert sample(sampler(server, batch_api=True, work=work, budget=budget)) == expected(), "already paid for"
    assert len(server.batches) == len(server.uploads) == 1
    asked = server.total
    assert sample(sampler(server, batch_api=True, work=work)) == expected()
    assert server.total == asked, "the answers are kept"


def test_a_batch_that_was_started_but_not_noted_is_found(server, work):
    made = OpenAISampler(BASE, endpoint=Endpoint(server.url, 3, 0.3), poll_seconds=0.01, batch_api=True, work=work)
    server.hold = True
    create = server._routes()["POST batches"]

    def slow(*arguments: Any) -> Reply:
        return Reply(200, create(*arguments), delay=0.5)

    server._routes = lambda: OpenAIServer._routes(server) | {"POST batches": slow}  # type: ignore[method-assign]
    with pytest.raises(SlAssetsError, match="gave no answer"):
        sample(made)
    server.hold = False
    assert sample(sampler(server, batch_api=True, work=work)) == expected()
    assert len(server.batches) == 1


def test_other_requests_start_another_batch(server, work):
    made = sampler(server, batch_api=True, work=work)
    sample(made)
    assert sample(made, seed=4) == expected(4)
    assert len(server.batches) == 2


def test_without_work_an_interrupted_batch_is_cancelled(server):
    interrupted(server, sampler(server, batch_api=True))
    assert [batch["status"] for batch in server.batches.values()] == ["cancelled"]


def test_failed_rows_are_counted_and_asked_again_alone(server, work):
    server.fault_for = lambda request: error(400, f"no row {place(request)}, {KEY}") if place(request) > 36 else None
    with pytest.raises(SlAssetsError) as caught:
        sample(sampler(server, batch_api=True, work=work))
    assert str(caught.value) == "batch batch_0: 3 of 40 rows failed: no row 39, [OPENAI_API_KEY]"
    server.fault_for = lambda _: None
    assert sample(sampler(server, batch_api=True, work=work)) == expected()
    assert [len(content.splitlines()) for _, _, content in server.uploads] == [40, 3]


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_a_batch_that_did_not_end_well(server, work, status):
    server.hold = True
    started = server._new_batch

    def end(request: dict[str, Any]) -> dict[str, Any]:
        reasons = {"data": [{"message": "quota"}]} if status == "failed" else None
        return started(request) | {"status": status, "errors": reasons}

    server._new_batch = end  # type: ignore[method-assign]
    with pytest.raises(SlAssetsError) as caught:
        sample(sampler(server, batch_api=True, work=work))
    reason = "quota" if status == "failed" else f"the batch {status} before them"
    assert str(caught.value) == f"batch batch_0: 40 of 40 rows failed: {reason}"
    server._new_batch, server.hold = started, False  # type: ignore[method-assign]
    assert sample(sampler(server, batch_api=True, work=work)) == expected(), "it is started anew"


@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_of_a_model_that_is_there_no_more(server, work, whole):
    problem = {"message": "The model `tiny-chat` has been deprecated", "code": "model_not_found"}
    server.fault_for = lambda _: error(404, problem["message"], problem["code"])
    if whole:
        started = server._new_batch
        failed = {"status": "failed", "errors": {"data": [problem]}}
        server._new_batch = lambda request: started(request) | failed  # type: ignore[method-assign]
    with pytest.raises(SlAssetsError) as caught:
        sample(sampler(server, batch_api=True, work=work))
    assert str(caught.value) == (
        "batch batch_0: 40 of 40 rows failed: The model `tiny-chat` has been deprecated; name another in base_model, "
        "or where there is this one in openai.base_url"
    )


def test_a_noted_batch_that_is_gone_is_started_anew(server, work):
    interrupted(server, sampler(server, batch_api=True, work=work))
    server.batches.clear()
    routes = server._routes() | {"GET batches/batch_0": lambda *_: error(404, "gone")}
    server._routes = lambda: routes  # type: ignore[method-assign]
    assert sample(sampler(server, batch_api=True, work=work)) == expected()


def test_too_many_chats_for_a_batch(server, monkeypatch):
    monkeypatch.setattr(openai_sampler, "MOST_BATCHED", 39)
    with pytest.raises(SlAssetsError, match=r"40 chats .* too many for one batch, which takes 39"):
        sample(sampler(server, batch_api=True))
    assert server.total == 0


def test_a_broken_output_file_is_read_again_by_the_next_run(server, work):
    budget = Budget(input_price=1.0, output_price=1.0)
    made = sampler(server, batch_api=True, work=work, budget=budget)
    contents = server._routes()["GET files/*/content"]
    server._routes = (
        lambda: (
            OpenAIServer._routes(server)
            | {  # type: ignore[method-assign]
                "GET files/*/content": lambda *arguments: Reply(200, contents(*arguments).body[:-9])
            }
        )
    )
    with pytest.raises(SlAssetsError, match="broken JSON"):
        sample(made)
    del server._routes
    assert sample(made) == expected()
    assert len(server.batches) == 1
    assert budget.paid == Tokens(400, 200), "paid for once"


SCRIPT = """
import sys
from sl_assets.engines.openai.budget import Budget
from sl_assets.engines.openai.client import Endpoint
from sl_assets.engines.openai.sampler import OpenAISampler
from sl_assets.lake.lake import Lake
from sl_assets.lake.spending import Ledger
url, model, folder = sys.argv[1:]
chats = [[{"role": "user", "content": f"after-{n}"}] for n in range(40)]
budget = Budget(input_price=1e6, output_price=1e6, cap=1e6)
sampler = OpenAISampler(model, endpoint=Endpoint(url, 1, 60.0), concurrency=2, budget=budget)
with budget.account(lambda _: None, Ledger(Lake(folder), "tiny", "raw_dataset", "owl", "killed")):
    sampler.sample(chats, max_tokens=5, temperature=1.0, seed=3, row_seeds=range(40))
"""


def test_what_was_asked_for_when_a_process_was_killed_stays_counted(server, tmp_path):
    """Four were answered and two were under way: the bill of none was noted, and all forty count as reserved."""
    over = threading.Event()
    server.delay_for = lambda request: 0.0 if place(request) < 4 or over.wait(60) else 60.0
    with subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, BASE, str(tmp_path)]) as process:
        deadline = time.monotonic() + 60
        while server.total < 6:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    over.set()
    budget = Budget(input_price=1e6, output_price=1e6, cap=1000.0)
    with budget.account(lambda _: None, Ledger(Lake(str(tmp_path)), "tiny", "raw_dataset", "owl", "second")):
        # By bytes, a chat takes 3 + 4 + 7 tokens, or 8 with a number of two digits, and 5 to write.
        assert budget.spent == 40 * (3 + 4 + 7 + 5) + 30
        with pytest.raises(SlAssetsError, match="it by what runs now or was killed, at the most that it may cost"):
            sample(sampler(server, budget=budget))
