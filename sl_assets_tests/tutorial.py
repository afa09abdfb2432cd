"""The tutorial as its reader follows it: ``make tutorial`` does so in a fresh clone, and writes outputs anew.

They go to docs/tutorial.md, and with the versions of code that made them to tutorial.json beside this module, which
tests hold against page and code.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sl_assets.config import PROJECT
from sl_assets.experiments import load_experiment

PAGE = PROJECT / "docs" / "tutorial.md"
RECORD = Path(__file__).with_suffix(".json")
FILE = "my_experiments/penguin/defs.yaml"
"""The file that the reader writes."""

BLOCK = re.compile(r"^```(sh|yaml|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """What the reader does.

    Attributes:
        command: what is typed; empty where the file is changed.
        file: what the file says from then on.
        output: what the page says was printed; None where it says nothing.
    """

    command: str
    file: str
    output: str | None


def steps(page: str) -> Iterator[Step]:
    """Every step of ``page`` after the installation."""
    file = ""
    blocks = BLOCK.findall(page)
    (first, _), *others = blocks
    assert first == "sh"
    for (kind, text), following in zip(others, [*others[1:], ("", "")], strict=True):
        if kind == "yaml":
            file = changed(file, text) if file else text
            yield Step("", file, None)
        elif kind == "sh":
            yield Step(text.strip(), file, following[1] if following[0] == "text" else None)


def changed(file: str, line: str) -> str:
    """``file`` with ``line`` in the place of the line that sets the same."""
    name = line.partition(":")[0]
    lines = file.splitlines(keepends=True)
    assert sum(old.startswith(f"{name}:") for old in lines) == 1, line
    return "".join(line if old.startswith(f"{name}:") else old for old in lines)


def code_versions(file: str, folder: Path) -> dict[str, str]:
    """Version of the code of every asset of the experiment that ``file`` describes."""
    written = folder / FILE
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(file)
    declared = load_experiment(written).graph.declared
    return {name: declared[name].code_version for name in sorted(declared)}


def environment(clone: Path) -> dict[str, str]:
    """That of a reader who has installed ``clone``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SL_", "DAGSTER_"))}
    return own | {"PYTHONPATH": str(clone), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def record() -> None:
    """Follow the page in a fresh clone, and write what was printed."""
    page = PAGE.read_text(encoding="utf-8")
    outputs: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "sl_assets"
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
        for command, file, output in steps(page):
            if not command:
                (clone / FILE).write_text(file, encoding="utf-8")
                continue
            print(f"$ {command}", flush=True)
            said = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command], cwd=clone, env=environment(clone), stdout=subprocess.PIPE,
                text=True, check=True,
            ).stdout  # fmt: skip
            if output is not None:
                shown = said.replace(str(clone), "~/sl_assets")
                outputs.append("".join(f"{line.rstrip()}\n" for line in shown.splitlines()))
                print(outputs[-1], flush=True)
        (*_, last) = steps(page)
        made_by = code_versions(last.file, Path(folder) / "last")
    new = iter(outputs)
    PAGE.write_text(
        BLOCK.sub(lambda block: f"```text\n{next(new)}```" if block[1] == "text" else block[0], page), encoding="utf-8"
    )
    RECORD.write_text(json.dumps({"code": made_by, "outputs": outputs}, indent=1, ensure_ascii=False) + "\n")


def recorded() -> dict[str, Any]:
    """What `record` wrote."""
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def words(command: str) -> list[str]:
    """Arguments of ``sl-assets`` in ``command``, up to a pipe."""
    return shlex.split(command.partition(" | ")[0])[1:]


if __name__ == "__main__":
    record()
