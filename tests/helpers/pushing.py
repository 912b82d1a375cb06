"""A learner whose weights are pushed to engines, in a process started by `run_ranks`."""

from __future__ import annotations

from typing import Any

from helpers.rollouts import TEMPERATURE, VALID_VOCABULARY


def pushing_learner(checkpoint: str, tensor: int, pipeline: int) -> Any:
    """This rank of a learner with the weights of `checkpoint`; data parallelism is what is left over."""
    from prorl_mega.config.recipe import KLConfig
    from prorl_mega.config.schema import ModelConfig, OptimizerConfig, ParallelConfig, Precision, RecipeConfig
    from prorl_mega.learner.learner import MegatronLearner
    from prorl_mega.weights.load import load_weights

    learner = MegatronLearner(
        model=ModelConfig(path=checkpoint, precision=Precision.fp32),
        parallel=ParallelConfig(tensor=tensor, pipeline=pipeline, max_tokens_per_microbatch=256),
        optimizer=OptimizerConfig(),
        recipe=RecipeConfig(prompts_per_step=2, prompts_per_update=1, kl=KLConfig(coef=0.0)),
        temperature=TEMPERATURE,
        valid_vocab=VALID_VOCABULARY,
        seed=3,
    )
    load_weights(checkpoint, learner.parameters(), learner.description, learner.layout)
    learner.adopt_parameters()
    return learner
