"""Stage 2: students, the base model fine-tuned on a condition's filtered numbers."""

import dagster as dg

from sl_assets.config import HubAdapters
from sl_assets.orchestration.asset import ExperimentGraph
from sl_assets.orchestration.partition import Product, Step
from sl_assets.stages.students.rows import draw_rows, examples_of
from sl_assets.stages.students.training import train_adapter

STAGE = "2_students"


def students_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 2."""
    student = graph.config.student
    if student.source:
        return [_imported(graph, student.source)]

    @graph.asset(
        stage=STAGE, uses=["base_model", "student"], deps=["filtered_dataset"], gpu=True, kinds=["huggingface"]
    )
    def lora_checkpoint(step: Step) -> Product:
        """Adapter of the student, one per kept epoch, trained on numbers alone."""
        rows = draw_rows(step.read("filtered_dataset"), student.max_rows, student.seed, str(step.condition))
        examples = examples_of(rows, student.system_prompt)
        return train_adapter(step, graph, examples, student, student.kept)

    return [lora_checkpoint]


def _imported(graph: ExperimentGraph, source: HubAdapters) -> dg.AssetsDefinition:
    epoch = graph.config.student.kept[-1]

    @graph.asset(stage=STAGE, uses=["student.source", "student.kept"], kinds=["huggingface"])
    def lora_checkpoint(step: Step) -> Product:
        """Adapter of a student trained elsewhere, from a model repository of the Hub at a recorded commit."""
        from sl_assets.hub.importing import fetch_adapter, resolve_revision

        repo, path = (text.replace("{condition}", step.condition) for text in (source.repo, source.path))
        commit = resolve_revision(repo, source.revision, "model")
        place = step.place(step.asset)
        with step.lake.new_folder(place) as folder:
            adapter = folder / f"epoch={epoch}"
            adapter.mkdir()
            fetch_adapter(repo, path, commit, adapter)
        return Product(step.lake.version(place), {"repo": repo, "commit": commit}, "huggingface")

    return lora_checkpoint
