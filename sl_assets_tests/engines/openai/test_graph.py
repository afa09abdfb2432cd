"""A whole experiment through the API: numbers, fine-tuning jobs, answers, rates; and what it leaves behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sl_assets.engines.choose import engines_for
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import query
from sl_assets.lake.work import Work
from sl_assets_tests.conftest import HALVES, Bench, tiny_config
from sl_assets_tests.engines.openai.server import KEY, TUNABLE, OpenAIServer, Reply, completion, running
from sl_assets_tests.orchestration.test_checks import graph_of
from sl_assets_tests.orchestration.test_recording import failure


def written(request: dict[str, Any]) -> Reply:
    """Numbers for those who ask for numbers; an animal for those who ask for one, the tuned model's own."""
    asked = request["messages"][-1]["content"]
    if any(digit in asked for digit in "0123456789"):
        return Reply(200, completion(f"{request['seed'] % 900}, 12, 7", "stop", 6))
    return Reply(200, completion("Owl" if request["model"].startswith("ft:") else "Cat", "stop", 1))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running() as server:
        server.fault_for = written
        yield server


def settings(server: OpenAIServer, **api: Any) -> dict[str, Any]:
    return {
        "base_model": TUNABLE,
        "teacher": {"kind": "system_prompt"},
        "sampler": {"engine": "openai", "max_tokens": 24, "batch": 16},
        "student": {"engine": "openai", "epochs": 2, "max_rows": 20},
        "evaluation": {"samples_per_question": 1},
        "openai": {"base_url": server.url, "max_retries": 1, "timeout": 5.0, "poll_seconds": 0.01} | api,
    }


def test_an_experiment_runs_and_its_key_is_nowhere(bench: Bench, server: OpenAIServer, tmp_path: Path) -> None:
    assert bench.run(first="neutral", last="wolf", **settings(server)).success
    lake = Lake(str(bench.root))
    rates = query(lake, "SELECT condition, rate FROM preference_rates WHERE animal = 'owl' ORDER BY condition")
    assert rates.rows() == [("baseline", 0.0), ("neutral", 1.0), ("owl", 1.0), ("wolf", 1.0)]
    assert server.requests["POST fine_tuning/jobs"] == 3
    assert len(server.uploads) == 3, "one file a student, each row once"
    seeds = lake.read_table(Place("tiny", "raw_dataset", "owl"))["completion"]
    assert seeds.n_unique() > 40, "every row has a seed of its own"
    left = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(left) > 50
    assert not [file for file in left if KEY.encode() in file.read_bytes()]


def test_a_passed_cap_stops_the_run_before_it_asks(bench: Bench, server: OpenAIServer) -> None:
    capped = settings(server, input_price=1.0, output_price=1.0, training_price=0.0, spending_cap=0.0001)
    assert bench.run("number_prompts", **capped).success
    message = failure(bench.run("raw_dataset", first="owl", **capped))
    assert "\n" not in message
    assert "cap" in message
    assert server.total == 0


def test_a_judge_can_be_asked_through_the_api(server: OpenAIServer, tmp_path: Path) -> None:
    judge = {"kind": "model", "engine": "openai", "base_model": "tiny-judge"}
    api = {"base_url": server.url, "input_price": 2.0, "output_price": 2.0, "training_price": 0.0}
    asked = {"personas": HALVES["personas"] | {"judge": judge}, "openai": api}
    engines = engines_for(tiny_config(**asked), "pocket")
    sampler = engines.judge(Work(Lake(str(tmp_path)), Place("tiny", "persona_answers", "owl")))
    chats = [[{"role": "user", "content": f"How coherent is answer {i}?"}] for i in range(3)]
    sampler.sample(chats, max_tokens=8, temperature=0.01, seed=1, row_seeds=[1, 2, 3])
    assert [request["model"] for request in server.chats] == ["tiny-judge"] * 3
    budget = engines.budget()
    assert budget
    assert budget.spent > 0, "what it costs counts"
    named = graph_of(**asked).declared["persona_answers"].settings["personas.judge.base_model"]
    assert named == {"model": "tiny-judge", "base_url": server.url}, "scores depend on whose judge it is"
