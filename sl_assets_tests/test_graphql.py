"""What Dagster's UI is told, asked as it asks: in GraphQL, of the code location, after a command has run."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sl_assets.config import PROJECT
from sl_assets_tests.cli.command import run
from sl_assets_tests.conftest import imported_numbers

QUERY = """{
  runsOrError { ... on Runs { results {
    repositoryOrigin { repositoryName repositoryLocationName }
    assetSelection { path }
    tags { key value }
  } } }
  componentTypesForLocationOrError(locationName: "sl_assets") {
    ... on ComponentTypes { componentTypes { name schema example } }
  }
  repositoryOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "sl_assets"}) {
    ... on Repository {
      sensors { name description }
      schedules { name description }
      jobs { name description }
      allTopLevelResourceDetails { name description resourceType }
    }
  }
  transfer: assetNodeOrError(assetKey: {path: ["tiny", "transfer"]}) {
    ... on AssetNode { description metadataEntries { label ... on TextMetadataEntry { text }
      ... on CodeReferencesMetadataEntry { codeReferences {
        ... on LocalFileCodeReference { filePath lineNumber label } } } } }
  }
  kept: assetNodeOrError(assetKey: {path: ["tiny", "filtered_dataset"]}) {
    ... on AssetNode { staleStatus(partition: "owl") staleCauses(partition: "owl") { reason } }
  }
}"""


def told(environment: dict[str, str]) -> dict[str, Any]:
    """What `QUERY` is answered of the code location in ``environment``."""
    command = [str(Path(sys.executable).parent / "dagster-graphql"), "-w", str(PROJECT / "workspace.yaml"), "-t", QUERY]
    done = subprocess.run(
        command, env=environment, cwd=environment["DAGSTER_HOME"], capture_output=True, text=True, check=True
    )
    # Among lines of the log.
    (answer,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    found: dict[str, Any] = json.loads(answer)
    assert "errors" not in found, found
    return dict(found["data"])


def test_what_the_ui_is_told(
    environment: dict[str, str], experiment_folder: Callable[..., Path], tmp_path: Path
) -> None:
    numbers = imported_numbers(tmp_path)
    environment["SL_EXPERIMENTS"] = str(experiment_folder(numbers=numbers))
    done = run(environment, "run", "tiny", "--through", "filtered_dataset")
    assert done.returncode == 0, done.stderr
    # Of what is there, other rows would be kept now.
    experiment_folder(numbers=numbers, filter={"minimum": 2})
    found = told(environment)

    runs = found["runsOrError"]["results"]
    assert {found["assetSelection"][0]["path"][-1] for found in runs} == {"raw_dataset", "filtered_dataset"}
    # The timeline leaves out whatever is of no code location.
    where = {"repositoryName": "__repository__", "repositoryLocationName": "sl_assets"}
    assert [run["repositoryOrigin"] for run in runs] == [where] * len(runs)
    tags = {tag["key"]: tag["value"] for tag in runs[0]["tags"]}
    assert (tags["experiment"], tags["stage"], tags["conditions"]) == ("tiny", "1_numbers", "neutral, owl, wolf")
    assert re.fullmatch(r"\w{3} \d\d, \d\d:\d\d:\d\d \w{4}", tags["sl_assets/command"])

    (component,) = found["componentTypesForLocationOrError"]["componentTypes"]
    assert component["name"] == "sl_assets.SubliminalExperiment"
    assert component["example"] == (PROJECT / "sl_assets" / "defs" / "pocket" / "defs.yaml").read_text()
    settings = component["schema"]["properties"]
    assert all(setting.get("description") for setting in settings.values())
    assert len(settings["teacher"]["anyOf"]) == 2, "of choices the page shows those of anyOf alone"

    location = found["repositoryOrError"]
    for kind in ("sensors", "schedules", "jobs", "allTopLevelResourceDetails"):
        for named in location[kind]:
            assert named["name"] == "__ASSET_JOB" or named["description"], named
    assert not [named for named in location["allTopLevelResourceDetails"] if "lambda" in named["resourceType"]]

    assert "\n\nStudents that" in found["transfer"]["description"], "indented, the UI would show it as code"
    entries = {entry["label"]: entry for entry in found["transfer"]["metadataEntries"]}
    assert entries["report"]["text"] == "sl-assets report tiny --open"
    code, page, *_ = entries["dagster/code_references"]["codeReferences"]
    source = Path(code["filePath"]).read_text().splitlines()
    defined = next(line for line in source[code["lineNumber"] - 1 :] if line.strip().startswith("def "))
    assert defined.strip().startswith("def transfer(")
    assert (code["label"], page["label"]) == ("evaluation/assets.py", "docs/results.md")
    assert Path(page["filePath"]).is_file()

    assert found["kept"]["staleStatus"] == "STALE"
    assert [cause["reason"] for cause in found["kept"]["staleCauses"]] == ["has a new code version"]
