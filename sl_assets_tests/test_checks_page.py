"""docs/checks.md says of every check what the code declares."""

from sl_assets.components import declare
from sl_assets.config import PROJECT
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.partition import Check
from sl_assets_tests.conftest import HALVES, PREPARATION, TINY, tiny_config

PAGE = PROJECT / "docs" / "checks.md"


def declared() -> dict[str, dict[str, Check]]:
    """Checks by description, by asset: one that several assets share is described once."""
    everything = HALVES | PREPARATION | {"evaluation": {"method": "both"}}
    transformed = {"numbers": TINY["numbers"] | {"transform": "shuffle_within_rows"}}
    graph = ExperimentGraph("tiny", tiny_config(**everything | transformed))
    declare(graph)
    imported = ExperimentGraph("tiny", tiny_config(numbers={"source": {"kind": "jsonl", "path": "{condition}"}}))
    declare(imported)
    found: dict[str, dict[str, Check]] = {}
    for name, asset in [*graph.declared.items(), *imported.declared.items()]:
        for check in asset.checks:
            found.setdefault(check.description, {})[name] = check
    return found


def rows() -> list[str]:
    """The rows of the page's table."""
    lines = []
    for description, checks in declared().items():
        check = next(iter(checks.values()))
        assets = ", ".join(f"`{name}`" for name in checks)
        bounds = ", ".join(f"`{name}`" for name in check.bounds if name != "base_model") or "none"
        kind = "blocks" if check.blocking else "warns"
        lines.append(f"| `{check.name}` | {assets} | {kind} | {description} | {bounds} |")
    return lines


def test_the_page_has_every_check_and_no_other() -> None:
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert table == rows()


if __name__ == "__main__":
    print("\n".join(rows()))
