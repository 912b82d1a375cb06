"""The families that are known by name."""

from __future__ import annotations

from prorl_mega.families.family import Family
from prorl_mega.families.llama import LLAMA
from prorl_mega.families.mistral import MISTRAL
from prorl_mega.families.phi3 import PHI3
from prorl_mega.families.qwen2 import QWEN2
from prorl_mega.families.qwen3 import QWEN3
from prorl_mega.families.qwen3_moe import QWEN3_MOE

_ALL = (QWEN2, QWEN3, QWEN3_MOE, LLAMA, MISTRAL, PHI3)
FAMILIES: dict[str, Family] = {family.architecture: family for family in _ALL}
