"""Prolonged reinforcement learning of reasoning models on Megatron-core and vLLM."""

__version__ = "0.1.0"
