"""The interfaces that the training loop calls. `build.py` chooses the classes behind them.

All ranks call every method together, in the same order (one SPMD program), with equal arguments.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prorl_mega.config.schema import RecipeConfig, RunConfig
from prorl_mega.types import (
    Completion,
    Decision,
    Grading,
    Metrics,
    ParallelLayout,
    Problem,
    Scoring,
    StepHyperparams,
    TrainSample,
    Verdict,
)

if TYPE_CHECKING:
    import numpy as np
    import torch


class Surroundings(Protocol):
    """The program around the parts of a job while they are built: a run, or one that leaves nothing on disk."""

    @property
    def saved_state(self) -> dict[str, Any] | None:
        """The state of the checkpoint that the job goes on from; None for a fresh start."""

    @property
    def directory(self) -> Path | None:
        """The place for files of processes that the job starts; None if nothing may be left on disk."""

    def message(self, text: str) -> None:
        """Print a line, on rank 0 alone."""

    def phase(self, text: str) -> AbstractContextManager[None]:
        """A long part of the set-up, announced and timed."""

    def is_stopping(self) -> bool:
        """Whether this rank has to stop soon. Cheap, and not collective."""


class Learner(Protocol):
    """The policy that is trained, its optimizer and its reference policy."""

    layout: ParallelLayout

    def compute_log_probs(self, samples: list[TrainSample]) -> None:
        """Fill in `old_logprobs` and `reference_logprobs` of every sample, as far as `update` reads them."""

    def compute_old_log_probs(self, samples: list[TrainSample]) -> None:
        """Fill in `old_logprobs` of every sample, whether `update` reads them or not, and nothing else."""

    def update(self, samples: list[TrainSample], hyperparams: StepHyperparams) -> Metrics:
        """One optimizer step on all `samples`; the order and the grouping into micro-batches do not matter."""

    def sft_step(self, samples: list[TrainSample], learning_rate: float) -> Metrics:
        """One optimizer step of maximum likelihood on the completions (warm start)."""

    def reset_reference(self, *, clear_optimizer: bool, to_best: bool = False) -> None:
        """Make the reference policy equal to the policy; optionally forget the optimizer's moments and step count.

        With `to_best` the policy itself returns first to what it was at the last `keep_best`.
        """

    def keep_best(self) -> None:
        """Remember the policy as it is, for `reset_reference(to_best=True)`; checkpoints hold it as well."""

    def configure(self, recipe: RecipeConfig, temperature: float) -> None:
        """Use these settings from now on; called at the start, at boundaries of stages and after an adjustment."""

    def parameters(self) -> dict[str, torch.Tensor]:
        """This rank's shards by Megatron name with global layer numbers; the live tensors, not copies."""

    def save(self, directory: Path, step: int) -> None:
        """Write this rank's files of the state after `step`: parameters, optimizer, reference, random state."""

    def load(self, directory: Path) -> None:
        """Restore what `save` wrote, bit for bit. Needs the layout that it was saved with."""


Finished = list[tuple[int, Completion]]
"""The completions that ended in a decoding step, often none; sample `s` of prompt `p` has index `p * samples + s`."""


class Rollout(Protocol):
    """Inference engines. They start with random weights and refuse to sample before a verified `update_weights`."""

    version: int

    def generate(
        self,
        prompts: list[np.ndarray],
        *,
        samples: int,
        seeds: list[list[int]],
        temperature: float,
        top_p: float,
        max_tokens: int | None,
    ) -> Generator[Finished]:
        """Sample `samples` completions of each prompt (`[P]` int32), one decoding step per iteration.

        Every rank of an engine drives its iterator to the end, in as many iterations as the others. The first rank gets
        the completions, the others the same or none. `max_tokens` of a completion; None: the engine's limit.
        """

    def update_weights(self, weights: Iterator[tuple[str, torch.Tensor]], version: int) -> str:
        """Replace all weights by (Hugging Face name, full tensor) pairs; returns the checksum of what was received."""

    def sleep(self) -> None:
        """Give the GPU memory to the learner."""

    def wake(self) -> None:
        """Take the GPU memory back."""

    def metrics(self) -> Metrics:
        """Numbers on pushes and servers since the last call, for the metrics of a step; equal on all ranks."""


class Batch(Protocol):
    """Answers that are scored while more are added. Never raises for what an answer contains."""

    @property
    def scoring(self) -> Scoring:
        """The counts of scoring so far."""

    def add(self, problem: Problem, text: str, grading: Grading = Grading.STRICT) -> None:
        """Add one answer. Does not wait."""

    def poll(self) -> None:
        """Make progress without waiting. To be called regularly."""

    def wait(self, seconds: float) -> bool:
        """Make progress for at most so long; whether all verdicts are there. To be called before `verdicts` where the
        caller must be able to give up."""

    def drain(self) -> list[tuple[int, Verdict]]:
        """Hand over the verdicts that have come since the last call, in the order in which they came, each with the
        number of its answer in the order of `add`. Does not wait. The batch forgets them, and so takes no more memory
        for more answers."""

    def verdicts(self) -> list[Verdict]:
        """Wait for all answers: exactly one verdict each, in the order of `add`. Not after `drain`."""


class Verifiers(Protocol):
    """Other processes that score answers; one that hangs is killed and replaced."""

    def batch(self) -> AbstractContextManager[Batch]:
        """A new batch; one at a time. Unfinished answers are given up when it is left."""

    def close(self) -> None: ...


class ProblemSource(Protocol):
    """An endless, resumable stream of training problems and a fixed held-out set."""

    def draw(self, count: int, times: Mapping[str, int] | None = None) -> list[Problem]:
        """`times` says how often the current step has which problems, by key; others come first where there are any."""

    def draw_metrics(self) -> Metrics:
        """Counts of the draws since the last call, for the metrics of a step."""

    def held_out(self, per_task: int) -> list[Problem]: ...

    def set_weights(self, weights: dict[str, float]) -> None:
        """Change the shares of the entries; every entry keeps its position."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Controller(Protocol):
    """Decides about the run from global metrics; identical inputs give identical decisions on every rank."""

    def settings(self) -> RunConfig:
        """The settings in force: those of the current stage with the controller's adjustments."""

    def hyperparams(self, step: int) -> StepHyperparams: ...

    def observe(self, step: int, metrics: Metrics) -> Decision: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
