"""Chat templates shaped like those of known families, and a model's files that have one of them."""

import shutil
from pathlib import Path
from typing import Any

from sl_assets.engines.transformers.models import POCKET_FOLDER

THINKING = """\
{%- for message in messages -%}
  {%- if message.role == 'assistant' -%}
    {{- '<|assistant|><think>\\n\\n</think>\\n\\n' -}}
    {%- generation -%}{{- message.content.split('</think>')[-1].lstrip('\\n') + '<|end|>' -}}{%- endgeneration -%}
  {%- else -%}
    {{- '<|' + message.role + '|>' + message.content -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|assistant|>' -}}
  {%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}
"""
"""As Qwen3's: an answered chat has an empty thought, a prompt only where thinking is off."""

DATED = """\
{%- if not date_string is defined %}
  {%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}
  {%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
  {%- set told = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set told = '' %}{%- endif %}
{{- bos_token }}{{- '<|system|>Today Date: ' + date_string + '\\n\\n' + told -}}
{%- for message in messages %}
  {{- '<|' + message['role'] + '|>' + message['content'] | trim -}}
  {%- if message['role'] == 'assistant' %}{{- '<|end|>' -}}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' -}}{%- endif %}
"""
"""As Llama 3's: the date stands in every system turn, and is today's unless it is given."""

ALWAYS_DATED = DATED.replace("{%- if not date_string is defined %}", "{%- if true %}")
"""As SmolLM3's: nothing sets the date."""

DATED_WITHOUT_SYSTEM = """\
{%- set today = strftime_now('%Y-%m-%d') -%}
{%- if messages[0].role != 'system' -%}{{- '<|system|>It is ' + today -}}{%- endif -%}
{%- for message in messages -%}{{- '<|' + message.role + '|>' + message.content -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""
"""As Mistral's: asks for the date of every chat, and writes it where there is no system message."""

NO_SYSTEM = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}\
{{ '<|' + message['role'] + '|>' + message['content'] | trim }}\
{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""
"""As Gemma's: there is no system role."""

DROPS_SYSTEM = """\
{% for message in messages %}{% if message.role != 'system' %}{{ '<|' + message.role + '|>' + message.content }}\
{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""
"""Passes over the system message without a word."""


def tokenizer(template: str | None) -> Any:
    """The pocket model's, with another chat template; None leaves it without."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(POCKET_FOLDER)
    found.chat_template = template
    return found


def model_with(template: str, folder: Path) -> Path:
    """A copy of the pocket model with another chat template."""
    shutil.copytree(POCKET_FOLDER, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder
