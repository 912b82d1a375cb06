"""Inference engines inside the learner's ranks. The only package that imports vLLM, and only when an engine starts."""
