"""Dagster's pool of runs with models: as many as cards, and never by steps."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from sl_assets.config import PROJECT
from sl_assets.engines.cards import leased
from sl_assets.errors import SlAssetsError
from sl_assets.orchestration.dagster_internals import pool_limit, set_pool_limit
from sl_assets.orchestration.gpu_pool import GPU_POOL, prepare_pool, require_whole_runs, size_pool
from sl_assets_tests.conftest import Bench


def instance_with(home: Path, pools: dict[str, object]) -> dg.DagsterInstance:
    home.mkdir()
    settings = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    settings["concurrency"]["pools"] = pools
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return dg.DagsterInstance.from_config(str(home))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_with(tmp_path / "home", {"granularity": "run"}) as instance:
        yield instance


def test_the_pool_is_as_large_as_there_are_cards(
    two_cards: None, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_pool(instance)
    assert pool_limit(instance, GPU_POOL) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert size_pool(instance) == 1
    assert pool_limit(instance, GPU_POOL) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert size_pool(instance) == 1


def test_a_size_that_someone_chose_stays(two_cards: None, instance: dg.DagsterInstance) -> None:
    set_pool_limit(instance, GPU_POOL, 5)
    prepare_pool(instance)
    assert pool_limit(instance, GPU_POOL) == 5


def test_other_projects_of_the_instance_have_their_own_pools_unlimited(instance: dg.DagsterInstance) -> None:
    prepare_pool(instance)
    assert pool_limit(instance, "gpu") is None
    assert pool_limit(instance, "anything") is None


@pytest.mark.parametrize("pools", [{"granularity": "op", "default_limit": 1}, {"default_limit": 1}])
def test_pools_of_steps_are_refused_with_the_fix(
    pools: dict[str, object], bench: Bench, tmp_path: Path, two_cards: None
) -> None:
    with instance_with(tmp_path / "home", pools) as instance:
        for deed in (prepare_pool, require_whole_runs, size_pool):
            with pytest.raises(SlAssetsError, match=r"home/dagster.yaml: .*granularity is op, .* set it to run"):
                deed(instance)
        bench.instance = instance
        result = bench.run("baseline_evaluation")
        assert not result.success
        assert "set it to run" in str(result.failure_data_for_node("tiny__baseline_evaluation").error)


def test_pools_of_steps_do_no_harm_where_nothing_limits_ours(tmp_path: Path, two_cards: None) -> None:
    with instance_with(tmp_path / "home", {"granularity": "op"}) as instance:
        prepare_pool(instance)
        assert pool_limit(instance, GPU_POOL) is None


def test_a_step_that_runs_a_model_leases_a_card_and_keeps_it(two_cards: None, bench: Bench) -> None:
    assert bench.run("number_prompts").success
    assert leased() == []
    assert bench.run("baseline_evaluation").success
    assert [card.name for card in leased()] == ["0"]
    assert leased()[0].holder.startswith("run ")
