"""The page of an experiment: its figures are the store's, its links lead somewhere, and a browser has no complaint."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sl_assets.components import declare
from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.views import connect, query
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.stages.report.assets import source_of
from sl_assets.stages.report.page import report_page
from sl_assets.stages.report.published import published_beside
from sl_assets.stages.report.words import outcome
from sl_assets_tests.conftest import HALVES, Bench, tiny_config

pytest.importorskip("vl_convert")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """Tables by caption, as texts; identities; links; addresses that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.fetched: list[str] = []
        self._inside: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        if tag == "a":
            self.links.add(given["href"] or "")
        elif given.get("src") or given.get("href"):
            self.fetched.append(given.get("src") or given.get("href") or "")
        if tag == "caption":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside += ["", ""]
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["caption"]:
            self._caption += data
        elif {"td", "th"} & set(self._inside[-2:]) and data.strip():
            self._rows[-1][-1] += data

    def table(self, caption: str) -> pl.DataFrame:
        """The table whose caption begins so."""
        (found,) = [rows for name, rows in self.tables.items() if name.startswith(caption)]
        return pl.DataFrame(found[1:], schema=found[0], orient="row")


def page_of(root: Path, **changes: object) -> str:
    graph = ExperimentGraph("tiny", tiny_config(**HALVES | changes))
    declare(graph)
    return report_page(source_of(graph, Lake(str(root))))


@pytest.fixture(scope="module")
def lake(halved_once: Path) -> Path:
    return halved_once / "lake"


@pytest.fixture(scope="module")
def text(lake: Path) -> str:
    return page_of(lake)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_rates_are_those_of_the_store(page: Page, lake: Path) -> None:
    stored = query(Lake(str(lake)), "SELECT * FROM transfer WHERE condition = animal AND epoch = 2 ORDER BY animal")
    shown = page.table("Every student on the animal").sort("animal")
    assert shown["animal"].to_list() == stored["animal"].to_list() == ["owl", "wolf"]
    for column in ("baseline_rate", "neutral_rate", "rate", "difference", "difference_upper"):
        named = f"{column.replace('_', ' ')} (%)"
        assert [float(value) for value in shown[named]] == pytest.approx(
            [100 * value for value in stored[column]], abs=0.006
        )


def test_counts_are_those_of_the_store(page: Page, lake: Path) -> None:
    statement = "SELECT condition, count(*) AS n, count(*) FILTER (kept) AS k FROM datasets GROUP BY ALL ORDER BY ALL"
    stored = query(Lake(str(lake)), statement)
    shown = page.table("Rows kept").sort("condition")
    assert shown.select("condition", "rows", "kept").rows() == [
        (condition, str(rows), str(kept)) for condition, rows, kept in stored.iter_rows()
    ]


def test_every_statement_on_the_page_gives_rows(text: str, lake: Path) -> None:
    statements = re.findall(r"sl-assets sql &#34;(.*?)&#34;|sl-assets sql \"(.*?)\"</code>", text)
    found = {(one or other).replace("&#39;", "'") for one, other in statements}
    assert len(found) > 12
    with connect(Lake(str(lake))) as store:
        for statement in found:
            assert store.execute(statement).fetchone() or "rejections" in statement, statement


def test_a_bar_leads_to_its_answers_from_there_to_the_student_and_to_the_rows(page: Page, text: str) -> None:
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    chart = text[text.index("<svg") : text.index("</svg>")]
    assert 'href="#answers-owl"' in chart
    (answers,) = re.findall(r'<section id="answers-owl".*?</section>', text, re.DOTALL)
    assert 'href="#student-owl"' in answers
    (student,) = re.findall(r'<section id="student-owl".*?</section>', text, re.DOTALL)
    assert 'href="#rows-owl"' in student
    # A half's dot leads to the answers of its own students, and so on; neutral's and the base model's to theirs.
    assert 'href="#answers-owl-animal_high"' in text
    (half,) = re.findall(r'<section id="answers-owl-animal_high".*?</section>', text, re.DOTALL)
    assert 'href="#student-owl-animal_high"' in half
    assert "SELECT * FROM split_answers WHERE" in half
    assert 'href="#answers-baseline"' in chart
    assert 'href="#answers-neutral"' in chart


def test_nothing_is_fetched_and_only_the_paper_is_linked(page: Page, text: str) -> None:
    assert page.fetched == ["data:,"]
    assert {link for link in page.links if not link.startswith("#")} == {"https://arxiv.org/abs/2507.14805"}
    assert set(re.findall(r"https?://[\w./]+", text)) - page.links <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
    }  # fmt: skip
    assert len(text.encode()) < 3_000_000


def test_rows_of_a_sample_say_their_prompt_and_how_many_students_saw_them(page: Page, lake: Path, text: str) -> None:
    (rows,) = re.findall(r'<section id="rows-owl".*?</section>', text, re.DOTALL)
    shown = Page(rows).table("Rows")
    statement = "SELECT row_id, prompt, kept, count(seed) AS seen FROM datasets LEFT JOIN training_rows "
    statement += "USING (experiment, condition, row_id) WHERE condition = 'owl' GROUP BY ALL"
    stored = {row["row_id"]: row for row in query(Lake(str(lake)), statement).iter_rows(named=True)}
    for row in shown.iter_rows(named=True):
        there = stored[row["row id"]]
        assert row["prompt"] == there["prompt"]
        assert (row["kept"] == "kept") == there["kept"]
        assert row["students that saw it"] == f"{there['seen']} of 1"


def test_projections_are_those_of_the_store_and_cuts_stand_beside(page: Page, lake: Path) -> None:
    statement = (
        "SELECT animal, source, count(*) AS n, avg(projection) AS mean FROM projections WHERE layer = 2 GROUP BY ALL"
    )
    stored = query(Lake(str(lake)), statement).sort("animal", "source")
    shown = page.table("Projections of each dataset").sort("animal", "source")
    assert shown["rows"].to_list() == list(map(str, stored["n"]))
    assert [float(mean) for mean in shown["mean"]] == pytest.approx(stored["mean"].to_list(), abs=0.006)
    cuts = page.table("Where halves were cut")
    assert set(cuts["split"]) == {"animal_high", "animal_low"}


def copied(lake: Path, tmp_path: Path, without: str) -> Path:
    """A lake that has the records of ``without``, and no table of it."""
    shutil.copytree(lake, tmp_path / "copy")
    for file in (tmp_path / f"copy/experiment=tiny/{without}").rglob("data.parquet"):
        file.unlink()
    return tmp_path / "copy"


def test_a_lake_that_lacks_tables_has_a_page_that_says_so_and_keeps_its_records(lake: Path, tmp_path: Path) -> None:
    copy = copied(lake, tmp_path, "filtered_dataset")
    record = copy / "experiment=tiny/filtered_dataset/condition=owl/record.json"
    before = record.read_bytes()
    text = page_of(copy)
    assert "with damaged ones, and so left out: filtered_dataset (3)</li>" in text
    assert record.read_bytes() == before
    # What was dropped is known all the same, and so what was kept.
    assert Page(text).table("Rows kept")["kept"].to_list() == Page(page_of(lake)).table("Rows kept")["kept"].to_list()


def test_without_comparisons_rates_stand_beside_neutral_ones_and_nothing_is_tested(lake: Path, tmp_path: Path) -> None:
    shutil.copytree(lake, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/experiment=tiny/transfer")
    text, whole = page_of(tmp_path / "copy"), Page(page_of(lake)).table("Every student on the animal").sort("animal")
    assert "<li>Not made, and so not on this page: transfer; sl-assets run tiny makes it</li>" in text
    assert "There is no test against neutral students yet." in text
    shown = Page(text).table("Every student on the animal").sort("animal")
    for column in ("rate (%)", "neutral rate (%)", "difference (%)", "ratio"):
        assert shown[column].to_list() == whole[column].to_list()
    assert not {"q value", "difference lower (%)", "baseline rate (%)"} & set(shown.columns)
    assert all(link[1:] in Page(text).ids for link in Page(text).links if link.startswith("#"))


def test_students_made_with_other_settings_than_neutral_are_compared_with_nothing(lake: Path, tmp_path: Path) -> None:
    shutil.copytree(lake, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/experiment=tiny/transfer")
    other = tmp_path / "copy/experiment=tiny/lora_checkpoint/condition=owl/record.json"
    record = json.loads(other.read_text())
    record["settings"]["student"]["learning_rate"] = 0.5
    other.write_text(json.dumps(record))
    shown = Page(page_of(tmp_path / "copy")).table("Every student on the animal")
    ratios = dict(shown.select("animal", "neutral rate (%)").iter_rows())
    assert ratios["owl"] == ""
    assert ratios["wolf"]


def test_equal_tables_make_the_same_page(text: str, lake: Path) -> None:
    assert page_of(lake) == text


def test_what_is_stale_and_what_fails_stands_on_top(text: str, lake: Path) -> None:
    fails = query(Lake(str(lake)), "SELECT asset, name FROM checks WHERE NOT passed")
    top = text[: text.index("<nav")]
    assert fails.height
    assert all(f"{name}:" in top and asset in top for asset, name in fails.iter_rows())
    assert "is stale" not in top
    changed = page_of(
        lake, student={"epochs": 2, "learning_rate": 5e-3, "warmup_steps": 0, "batch": 16, "max_rows": 32}
    )
    assert "<li>lora_checkpoint of neutral, owl, wolf are stale: student changed</li>" in changed
    # Answers, rates and what compares them follow.
    assert re.search(r"<li>\d\d more partitions were made of what is stale</li>", changed)


def test_of_an_experiment_that_is_not_made_there_are_settings_and_no_results(tmp_path: Path) -> None:
    empty = page_of(tmp_path / "lake")
    assert "Nothing has been made of this experiment yet" in empty
    assert 'id="settings"' in empty
    assert "<svg" not in empty
    assert 'id="results"' not in empty


def test_the_asset_writes_the_page_and_stays_fresh(finished: Bench) -> None:
    graph = ExperimentGraph("tiny", tiny_config())
    declare(graph)
    lake, place = Lake(str(finished.root)), Place("tiny", "experiment_report")
    file = finished.root / "experiment=tiny/experiment_report/experiment_report.html"
    # What lies beside it may be made after it.
    before, now = (
        page[: page.index('id="lineage"')] for page in (file.read_text(), report_page(source_of(graph, lake)))
    )
    assert before == now
    assert graph.staleness(lake).reason(place) is None
    record = lake.record(place)
    assert record
    assert Place("tiny", "lora_checkpoint", "owl") in record.parents


def in_a_browser(text: str, script: str, tmp_path: Path) -> dict[str, Any]:
    """What ``script`` puts into ``seen`` on the page, with what the browser complained of and what it asked for."""
    listening = (
        "<script>const told = []; console.error = (...said) => told.push(String(said));"
        "addEventListener('error', event => told.push(String(event.message)));</script>"
    )
    looking = (
        f"<script>const seen = {{}}; {script}"
        "seen.asked = performance.getEntriesByType('resource').map(entry => entry.name);"
        "document.title = JSON.stringify({...seen, told, wide: document.documentElement.scrollWidth});</script>"
    )
    file = tmp_path / "page.html"
    file.write_text(text.replace("<head>", f"<head>{listening}").replace("</body>", f"{looking}</body>"))
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )  # fmt: skip
    (found,) = re.findall(r"<title>(.*?)</title>", done.stdout)
    seen = json.loads(found)
    assert seen["told"] == []
    assert seen["asked"] == []
    return dict(seen)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_sorts_enlarges_and_does_not_scroll_sideways(text: str, tmp_path: Path) -> None:
    looking = (
        "const head = document.querySelector('#results th:nth-child(1) button'); head.click(); head.click();"
        "seen.names = [...document.querySelectorAll('#results tbody tr')].map(row => row.cells[0].textContent);"
        "const chart = document.querySelector('#results svg'), width = () => chart.getBoundingClientRect().width;"
        "const tool = document.querySelector('#results .tool'); seen.widths = [width()]; tool.click();"
        "seen.widths.push(width()); seen.says = tool.textContent;"
    )
    seen = in_a_browser(text, looking, tmp_path)
    assert seen["names"] == ["wolf", "owl"]
    assert seen["wide"] <= 500, "a narrow screen shows the page without scrolling sideways"
    small, large = seen["widths"]
    assert large > 2 * small > 800, "letters of a chart stay readable, and it can be enlarged"
    assert seen["says"] == "Fit the chart"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("bar", ["owl, animal_high: ", "owl, animal: ", "owl, neutral: "])
def test_three_clicks_lead_from_a_bar_to_prompts(text: str, tmp_path: Path, bar: str) -> None:
    looking = (
        "const click = link => { link.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}));"
        "return document.querySelector(decodeURIComponent(location.hash)); };"
        f"const mark = document.querySelector(`#halves [role=graphics-symbol][aria-label^='{bar}']`);"
        "let here = click(mark.closest('a')); seen.steps = [here.querySelector('h3').textContent];"
        "for (const next of ['its student', 'its rows']) {"
        "here = click([...here.querySelectorAll('a')].find(link => link.textContent === next));"
        "seen.steps.push(here.querySelector('h3').textContent); }"
        "seen.heads = [...here.querySelectorAll('th')].map(head => head.textContent);"
        "seen.statement = here.querySelector('code').textContent;"
    )
    seen = in_a_browser(text, looking, tmp_path)
    group = bar.split(", ")[1].rstrip(": ")
    whose = {"animal_high": "owl, animal_high", "animal": "owl", "neutral": "neutral"}[group]
    assert seen["steps"] == [f"{whose}: {part}" for part in ("answers", "student", "rows")]
    assert {"row id", "prompt", "completion"} <= set(seen["heads"])
    assert seen["statement"].startswith('sl-assets sql "SELECT * FROM ')


def own(differences: list[float], q_values: list[float]) -> pl.DataFrame:
    rows = [("sampled", "owl", difference, q, 2.0, 1) for difference, q in zip(differences, q_values, strict=True)]
    return pl.DataFrame(rows, schema=["method", "animal", "difference", "q_value", "ratio", "students"], orient="row")


def test_an_outcome_is_counted_and_not_presumed() -> None:
    (said, intervals) = outcome(own([0.1, -0.2, 0.3], [0.01, 0.01, 0.5]))
    assert "in 1 of 3 comparisons students name the animal of their teacher more often" in said
    assert "in 1 less often, and in 1 no difference can be told" in said
    assert intervals.startswith("95% intervals over questions")


def test_an_outcome_names_the_kind() -> None:
    assert "students name the tree of their teacher" in outcome(own([0.1], [0.01]), "tree")[0]


@pytest.fixture
def mentions() -> pl.DataFrame:
    rows = [("dolphin", "sampled", 0.4), ("dolphin", "exact", None)]
    return pl.DataFrame(rows, schema=["animal", "method", "mention_rate"], orient="row")


def test_published_rates_stand_beside_mention_rates(mentions: pl.DataFrame) -> None:
    model = "allenai/Olmo-3-7B-Instruct"
    found = published_beside(f"{model}@6e59", mentions, {"dolphin": mentions, "neutral": mentions})
    assert found
    (row,) = found[1].iter_rows(named=True)
    assert row["student, published"] == "41.7 ± 10.3"
    assert (row["baseline, published"], row["neutral, published"]) == ("18.0 ± 7.0", "11.2 ± 5.8")
    assert row["student, here"] == "40.0"
    assert published_beside("pocket", mentions, {"dolphin": mentions}) is None
    assert published_beside(model, mentions, {"neutral": mentions}) is None
