"""The small form of `sl_assets_tests.faults`: it is run by hand, and has to be able to run."""

import random
import shutil
from pathlib import Path

import pytest

from sl_assets.lake.places import Place
from sl_assets_tests.faults import Patient, flipped, kills

STAGES = ("number_prompts", "preference_rates")
"""Assets that take no model, each killed once."""


@pytest.fixture
def patient(finished_once: Path, tmp_path: Path) -> Patient:
    """The finished experiment without halves, as a command's own."""
    shutil.copytree(finished_once, tmp_path / "patient")
    patient = Patient(tmp_path / "patient", {})
    for name in STAGES:
        for partition in [None] if name == "number_prompts" else ["neutral", "owl", "wolf"]:
            patient.lake.forget_record(Place("tiny", name, partition))
    return patient


def test_runs_that_are_killed_leave_nothing_half_made_and_come_to_the_same(patient: Patient) -> None:
    before = {path: path.read_bytes() for path in Path(patient.lake.root).glob("experiment=tiny/**/*.parquet")}
    found = kills(patient, dict.fromkeys(STAGES, 1.5), len(STAGES), random.Random(1), print)
    assert found.times == len(STAGES)
    assert {path: path.read_bytes() for path in Path(patient.lake.root).glob("experiment=tiny/**/*.parquet")} == before


def test_one_flipped_bit_is_named_by_the_command(patient: Patient) -> None:
    place = Place("tiny", "evaluation", "owl")
    file = Path(patient.lake.path(place)) / "data.parquet"
    flipped(file, random.Random(1))
    status, said = patient.types("verify", "tiny")
    assert status == 1
    assert f"{place}: {file}: SHA-256 " in said
