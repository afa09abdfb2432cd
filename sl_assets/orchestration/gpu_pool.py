"""Dagster's pool of runs that run a model: as many as there are GPUs, each of which leases cards of its own."""

import dagster as dg

from sl_assets.engines.cards import cards
from sl_assets.errors import SlAssetsError
from sl_assets.orchestration.dagster_internals import pool_limit, pools_hold_steps, set_pool_limit, unset_pool_limit

GPU_POOL = "sl_assets_gpu"
"""No name that another project of the same instance may use."""


def size_pool(instance: dg.DagsterInstance) -> int | None:
    """Let as many runs that run a model start from Dagster's queue as there are GPUs; returns that number.

    Without a GPU it is one: on a CPU, models would only slow each other down. It is none where runs are launched on a
    cluster: that counts the GPUs of its own machines, and what is on this one says nothing.

    Raises:
        SlAssetsError: as `require_whole_runs`.
    """
    if pools_hold_steps(instance):
        raise _refusal(instance)
    if not launches_here(instance):
        unset_pool_limit(instance, GPU_POOL)
        return None
    size = max(1, len(cards()))
    set_pool_limit(instance, GPU_POOL, size)
    return size


def prepare_pool(instance: dg.DagsterInstance) -> None:
    """Size the pool unless someone has, or it would hold steps.

    Raises:
        SlAssetsError: as `require_whole_runs`.
    """
    require_whole_runs(instance)
    chosen = launches_here(instance) and pool_limit(instance, GPU_POOL) is not None
    if not chosen and not pools_hold_steps(instance):
        size_pool(instance)


def launches_here(instance: dg.DagsterInstance) -> bool:
    """Whether runs of the queue are processes of this machine, and not a cluster's."""
    return isinstance(instance.run_launcher, dg.DefaultRunLauncher)


def require_whole_runs(instance: dg.DagsterInstance) -> None:
    """A run holds cards from one step to the next; a step that holds a place in the pool would wait for it for ever.

    Raises:
        SlAssetsError: in this instance, places in a pool are taken by steps.
    """
    if pools_hold_steps(instance) and pool_limit(instance, GPU_POOL) is not None:
        raise _refusal(instance)


def _refusal(instance: dg.DagsterInstance) -> SlAssetsError:
    return SlAssetsError(
        f"{instance.root_directory}/dagster.yaml: concurrency.pools.granularity is op, with which two runs may wait "
        "for one another for ever; set it to run"
    )
