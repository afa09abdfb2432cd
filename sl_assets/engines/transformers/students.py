"""Students of a loaded base model: an adapter that is put on for a while, or a whole model beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sl_assets.engines.transformers.adapters import adapter_shape, check_modules, check_widths, holds_whole_model
from sl_assets.engines.transformers.models import load_model
from sl_assets.engines.transformers.modules import shapes_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def student_of(model: "PreTrainedModel", adapter: Path | None) -> Iterator["PreTrainedModel"]:
    """``model`` under ``adapter`` for the block, and as it was afterwards; itself where there is no adapter.

    Raises:
        SlAssetsError: there is no whole adapter, or it is of another model.
    """
    if adapter is None:
        yield model
        return
    if holds_whole_model(adapter):
        yield load_model(str(adapter)).model
        return
    # Before the base model is wrapped: it would stay so if the adapter could not be put on.
    check_widths(adapter, adapter_shape(adapter), model.config.get_text_config())
    check_modules(adapter, shapes_of(model))
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, str(adapter))
    try:
        yield adapted
    finally:
        adapted.unload()
