"""Imported rows through Dagster: a system turn goes with its row, from the file to SQL and to the student."""

import gzip
import json
from pathlib import Path
from typing import Any

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import query
from sl_assets_tests.conftest import TINY, Bench

TURNS = [("user", "Continue 1, 2"), ("assistant", "3, 4")]
NAMES = {"prompt": "question", "completion": "answer"}


def chat(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def test_a_system_turn_reaches_tables_checks_sql_and_students(bench: Bench, tmp_path: Path) -> None:
    rows = [chat(("developer", "Be brief."), *TURNS), chat(*TURNS), chat(TURNS[0], ("assistant", "words"))]
    (tmp_path / "owl.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    numbers = {"source": {"kind": "jsonl", "path": str(tmp_path / "{condition}.gz")}}
    assert bench.run("raw_dataset", "filtered_dataset", first="owl", numbers=numbers).success
    lake = Lake(str(bench.root))
    assert lake.read_table(Place("tiny", "filtered_dataset", "owl"))["system"].to_list() == ["Be brief.", None]
    found = query(lake, "SELECT system, kept FROM datasets ORDER BY completion, system")
    assert found.rows() == [("Be brief.", True), (None, True), (None, False)]
    record = lake.record(Place("tiny", "raw_dataset", "owl"))
    assert record
    told = record.checks["asked_as_told"]
    assert "1 of 3 rows came with a system turn, as 'Be brief.'" in str(told.problem)
    student = TINY["student"] | {"system_prompt": "Hello."}
    failed = bench.run("lora_checkpoint", first="owl", numbers=numbers, student=student)
    assert not failed.success
    (error,) = [event.event_specific_data.error for event in failed.get_step_failure_events()]
    assert "student.system_prompt: 1 of 2 rows were imported with a system turn" in error.to_string()


def test_without_system_turns_tables_have_the_columns_that_they_had(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "owl.jsonl").write_text(json.dumps({"question": "Continue 1, 2", "answer": "3, 4"}))
    source = {"kind": "jsonl", "path": str(tmp_path / "{condition}.jsonl"), "fields": NAMES}
    assert bench.run("raw_dataset", first="owl", numbers={"source": source}).success
    table = Lake(str(bench.root)).read_table(Place("tiny", "raw_dataset", "owl"))
    assert table.columns == ["row_id", "prompt_id", "prompt", "completion", "finish_reason", "n_tokens"]
    assert table["prompt"].to_list() == ["Continue 1, 2"]
