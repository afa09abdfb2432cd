"""How models are run, here and by an API."""

from typing import Literal

from pydantic import Field

from sl_assets.config.section import Count, Rate, Section, Temperature, TopP, added


class SamplerSettings(Section):
    """What runs the models that write."""

    engine: Literal["transformers", "vllm", "openai"] = Field(
        "transformers", description="transformers runs on CPU and CUDA, vllm on GPUs, openai at whoever speaks its API"
    )
    temperature: Temperature = Field(
        1.0, description="softmax temperature; 1 samples the model's own distribution, 0 takes the likeliest token"
    )
    top_p: TopP = added(1.0, description="probability that the likeliest tokens drawn among have together; 1 takes all")
    max_tokens: Count = Field(128, description="tokens a completion may have")
    batch: Count = Field(512, description="chats sampled together, and kept together if a run is interrupted")
    # How much of a machine is used has no part in the results, and so in no asset's version.
    gpus: int = Field(
        1, ge=0, exclude=True, description="GPUs of a run; 0 asks a cluster for none, for models on its CPUs"
    )
    gpu_kind: str | None = Field(None, exclude=True, description="kind of GPU to ask a cluster for, as that calls it")
    memory_share: float = Field(0.9, gt=0, le=1, exclude=True, description="vllm: share of a GPU's memory to take")
    max_lora_rank: Count = Field(64, exclude=True, description="vllm: highest rank of an adapter")
    compiled: bool = Field(
        False, exclude=True, description="vllm: compile at the start, which takes minutes and makes long runs faster"
    )
    max_num_seqs: Count = Field(512, exclude=True, description="vllm: completions written at the same time")
    max_length: Count = Field(2048, exclude=True, description="vllm: tokens of a prompt and its completion")


class OpenAISettings(Section):
    """How the engine ``openai`` reaches its API, and what it may spend; the key is in OPENAI_API_KEY."""

    base_url: str = Field("https://api.openai.com/v1", description="where the API is")
    concurrency: Count = Field(16, exclude=True, description="requests under way at the same time")
    max_retries: int = Field(6, ge=0, exclude=True, description="times a refused or failed request is sent again")
    timeout: Rate = Field(120.0, exclude=True, description="seconds to wait for an answer")
    batch_api: bool = Field(False, exclude=True, description="sample by the Batch API: half the price, up to a day")
    poll_seconds: Rate = Field(20.0, exclude=True, description="seconds between two looks at a job or batch")
    input_price: float = Field(0.0, ge=0, exclude=True, description="dollars per million tokens read")
    output_price: float = Field(0.0, ge=0, exclude=True, description="dollars per million tokens written")
    training_price: float = Field(0.0, ge=0, exclude=True, description="dollars per million tokens trained on")
    spending_cap: Rate | None = Field(
        None, exclude=True, description="dollars the experiment may spend in a lake, all runs together"
    )
