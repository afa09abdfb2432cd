"""The commits that models of the Hub stand for in a lake, where settings of an experiment name such a model."""

from typing import Any

from sl_assets.hub.base_models import HubModel, use_commit
from sl_assets.hub.importing import Repository
from sl_assets.lake.lake import Lake
from sl_assets.lake.pins import pin, pinned


def with_commit(setting: Any, lake: Lake) -> Any:
    """``setting``; if it is a model of the Hub, with the commit that its name stands for, once that is known."""
    name = _repository(setting)
    return setting | {"commit": pinned(lake, name)} if name else setting


def take_known_commit(setting: Any, lake: Lake) -> None:
    """Have this process take the commit that the lake knows, if ``setting`` is a model of the Hub."""
    if (name := _repository(setting)) and (commit := pinned(lake, name)):
        use_commit(name, commit)


def settle_commit(setting: Any, lake: Lake) -> Any:
    """`with_commit`, resolved if the lake does not know it; this process takes that commit from now on."""
    if not (name := _repository(setting)):
        return setting
    commit = pin(lake, name, Repository("model", *HubModel.of(name)).resolve)
    use_commit(name, commit)
    return setting | {"commit": commit}


def _repository(setting: Any) -> str | None:
    return setting.get("repository") if isinstance(setting, dict) else None
