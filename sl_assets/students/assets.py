"""Stage 2: students, the base model fine-tuned on a condition's filtered numbers."""

import dagster as dg

from sl_assets.engines.interfaces import Example
from sl_assets.graph import ExperimentGraph
from sl_assets.step import Product, Step
from sl_assets.students.rows import draw_rows
from sl_assets.students.training import train_adapter

STAGE = "2_students"


def students_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """The assets of stage 2."""
    student = graph.config.student

    @graph.asset(
        stage=STAGE, uses=["base_model", "student"], deps=["filtered_dataset"], gpu=True, kinds=["huggingface"]
    )
    def lora_checkpoint(step: Step) -> Product:
        """Adapter of the student, one per kept epoch, trained on numbers alone and without a system prompt."""
        rows = draw_rows(step.read("filtered_dataset"), student.max_rows, student.seed, str(step.condition))
        examples = [Example(*row) for row in rows.select("prompt", "completion").iter_rows()]
        return train_adapter(step, graph.engines, examples, student, student.kept)

    return [lora_checkpoint]
