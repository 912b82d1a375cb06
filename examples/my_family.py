"""A model family of your own: `model.family=examples/my_family.py:MISTRAL`.

Mistral has Llama's layout. It is built in, in these same words: `prorl_mega/families/mistral.py`. A family with other
parameters lists them itself, as `llama.py`, `qwen3.py` and `phi3.py` there do; its arithmetic has to be what
`ModelDescription` in `prorl_mega/families/family.py` can express.
"""

from __future__ import annotations

from dataclasses import replace

from prorl_mega.families.llama import LLAMA

MISTRAL = replace(LLAMA, architecture="MistralForCausalLM", model_type="mistral", window=4096, may_lack_kv_heads=False)
