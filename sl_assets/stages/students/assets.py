"""Stage 2: students, the base model fine-tuned on a condition's filtered numbers."""

import dagster as dg
import polars as pl

from sl_assets.config import HubAdapters
from sl_assets.hub.importing import Repository, fetch_adapter
from sl_assets.lake.tables import TABLES
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.metadata import code_block
from sl_assets.orchestration.partition import PREPARED, Product, Step
from sl_assets.stages.checking import changes_the_model, rendering_checks, student_checks
from sl_assets.stages.rendering import renderer_of
from sl_assets.stages.students.rows import draw_rows, examples_of
from sl_assets.stages.students.training import train_students
from sl_assets.stages.training import require_adapter

STAGE = "2_students"


def students_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 2."""
    student = graph.config.student
    if student.source:
        return [_imported(graph, student.source)]

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["base_model", "student"],
        deps=[graph.config.dataset],
        gpu=True,
        kinds=["huggingface"],
        checks=student_checks(graph.config),
    )
    def lora_checkpoint(step: Step) -> Product:
        """Adapter of the student, one per kept epoch, trained on numbers alone; of every seed its own."""
        rows = step.read(graph.config.dataset)
        made = train_students(step, graph.engines_for(step).trainer, rows, student)
        seen = draw_rows(rows, student.max_rows, student.all_seeds[0], str(step.condition))
        (first,) = examples_of(seen[:1], student.system_prompt)
        return made.showing(rendered=code_block(renderer_of(graph.config, step.base_model).learnt(first, student)))

    return [lora_checkpoint]


def _imported(graph: ExperimentGraph, source: HubAdapters) -> dg.AssetsDefinition:
    epoch = graph.config.student.kept[-1]

    def repository(condition: str) -> Repository:
        return Repository("model", source.repo.replace("{condition}", condition), source.revision)

    @graph.asset(
        stage=STAGE,
        code="1",
        uses=["student.source", "student.kept"],
        # Whether the adapter is one of the base model's is asked of the model itself.
        deps=[PREPARED] if graph.prepared else [],
        kinds=["huggingface"],
        repository=repository,
        checks=[changes_the_model(), *rendering_checks(graph.config)],
    )
    def lora_checkpoint(step: Step) -> Product:
        """Adapter of a student trained elsewhere, from a model repository of the Hub at a recorded commit."""
        repo, path = repository(step.condition).repo, source.path.replace("{condition}", step.condition)
        commit = step.commit_of(repository(step.condition))
        with step.new_folder() as folder:
            adapter = folder / f"epoch={epoch}"
            adapter.mkdir()
            fetch_adapter(repo, path, commit, adapter)
            if graph.config.sampler.engine != "openai":
                require_adapter(adapter, step.base_model, f"model {repo}{path and f', {path}'} at {commit}")
            version = step.put(folder)
        # A student trained here before may have left its curve, and the rows that it saw.
        for table in ("training", "training_rows"):
            step.write(pl.DataFrame(schema=TABLES[table].schema), table)
        return Product(version, {"repo": repo, "commit": commit}, "huggingface")

    return lora_checkpoint
