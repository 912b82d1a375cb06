"""A model family of your own: `model.family=examples/my_family.py:MISTRAL`.

Mistral has Llama's layout. A family with other parameters lists them itself, as `prorl_mega/families/llama.py` and
`qwen3.py` do; its arithmetic has to be what `ModelDescription` in `prorl_mega/families/family.py` can express.
"""

from __future__ import annotations

from dataclasses import replace

from prorl_mega.families.llama import LLAMA

MISTRAL = replace(LLAMA, architecture="MistralForCausalLM")
