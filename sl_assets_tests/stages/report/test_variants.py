"""The table of variants: every student on its own animal, with whose results these are."""

import polars as pl

from sl_assets.lake.tables import TABLES
from sl_assets.stages.report.variants import Results, last_epochs, variants_table


def transfer(*rows: tuple[str, str, int, float]) -> pl.DataFrame:
    made = [
        {"condition": condition, "animal": animal, "epoch": epoch, "method": "sampled", "difference": difference}
        for condition, animal, epoch, difference in rows
    ]
    return pl.DataFrame(made, schema=TABLES["transfer"].schema)


def test_rows_are_the_students_own_animals_in_the_order_of_the_file() -> None:
    itself = transfer(("owl", "owl", 1, 0.1), ("owl", "cat", 1, 0.9), ("cat", "cat", 1, 0.2))
    rank2 = transfer(("owl", "owl", 2, 0.3), ("owl", "owl", 1, 0.4))
    found = variants_table(
        {"exp": Results("exp", {}, itself), "rank2": Results("exp__rank2", {"student": {"rank": 2}}, rank2)}
    )
    assert found.select("variant", "made_by", "changes", "animal", "epoch", "difference").rows() == [
        ("exp", "exp", "{}", "owl", 1, 0.1),
        ("exp", "exp", "{}", "cat", 1, 0.2),
        ("rank2", "exp__rank2", '{"student": {"rank": 2}}', "owl", 2, 0.3),
        ("rank2", "exp__rank2", '{"student": {"rank": 2}}', "owl", 1, 0.4),
    ]
    assert last_epochs(found)["difference"].to_list() == [0.1, 0.2, 0.3]


def test_without_results_it_is_empty() -> None:
    assert variants_table({}).is_empty()
    assert variants_table({}).schema == TABLES["variants"].schema


def test_results_without_numbers_of_students_are_of_one_student_a_side() -> None:
    former = transfer(("owl", "owl", 1, 0.1)).drop("students", "neutral_students", "difference_sd_students", "counted")
    columns = ("students", "neutral_students", "difference_sd_students", "counted", "difference")
    assert variants_table({"exp": Results("exp", {}, former)}).select(columns).rows() == [(1, 1, None, "exact", 0.1)]
