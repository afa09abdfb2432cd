"""Dagster is told of what the lake holds and it does not know: a run was killed, or this home knew of another lake."""

import uuid
from collections.abc import Iterator, Sequence

import dagster as dg

from sl_assets.lake.lake import Lake
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.dagster_internals import report_check, told_versions, version_tags
from sl_assets.orchestration.planner import Planner
from sl_assets.orchestration.recording import check_events, event_of


class Teller:
    """Tells ``instance`` of partitions as their records describe them; what it knows already it is not told again.

    Args:
        instance: whose events the UI shows.
        definitions: of the experiments whose partitions it is told of.
    """

    def __init__(self, instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
        self._instance = instance
        self._specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
        # Of no run: checks that are decided anew without one are reported under it.
        self._checks_id = str(uuid.uuid4())

    def tell(self, graph: ExperimentGraph, name: str, lake: Lake, places: Sequence[Place], stale: bool = False) -> int:
        """Tell of ``places`` of the asset called ``name``, of what is stale only if asked to; returns of how many.

        What is stale is told with the code version that it was made by, by which the UI marks it.
        """
        declared, key = graph.declared[name], graph.key(name)
        told = told_versions(self._instance, key)
        now = graph.staleness(lake)
        untold: dict[str, list[Record]] = {}
        for place in places:
            record, is_fresh = now.record(place), now.own_reason(place) is None
            if record is None or not (stale or is_fresh):
                continue
            version = declared.version if is_fresh else record.code_version
            if told.get(place.partition) != (record.data_version, version):
                untold.setdefault(version, []).append(record)
        for version, records in untold.items():
            # Parents are looked up once, not for every partition.
            tags = version_tags(self._instance, self._specs[key], version)
            for record in records:
                self._instance.report_runless_asset_event(event_of(key, record, tags))
                self.tell_checks(record)
        return sum(map(len, untold.values()))

    def tell_checks(self, record: Record) -> None:
        """Tell what the checks of a partition say."""
        key = dg.AssetKey([record.place.experiment, record.place.table])
        for event in check_events(self._instance, key, record):
            report_check(self._instance, self._checks_id, event)


def adopt(planner: Planner, teller: Teller) -> Iterator[tuple[str, int]]:
    """Tell of everything that is there of what ``planner`` wants, parents first, fresh or stale.

    Yields:
        Every asset of which Dagster was told something, and of how many partitions.
    """
    for asset in planner.assets:
        graph, name = planner.whose(asset)
        if count := teller.tell(graph, name, planner.lake, planner.wanted(asset), stale=True):
            yield asset, count
