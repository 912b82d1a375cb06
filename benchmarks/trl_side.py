"""The workload with TRL's GRPOTrainer. Runs in an environment of its own; see `trl_step.py`.

Methods of the trainer are timed from outside; phases count for themselves only. Arguments: workload, micro-batch,
result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.workload import Workload, reward, write_result
from prorl_mega.run.timers import PhaseTimer

PHASES = {"_generate": "rollout", "_calculate_rewards": "verify", "training_step": "update"}


class TimedTrainer(trl.GRPOTrainer):
    """GRPOTrainer with a stop-watch around the parts of a step."""

    timer = PhaseTimer()
    tokens = 0.0

    def _get_per_token_logps_and_entropies(self, *arguments: Any, **options: Any) -> Any:
        name = "update" if torch.is_grad_enabled() else "reference"
        with self.timer.phase(name):
            return super()._get_per_token_logps_and_entropies(*arguments, **options)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        with self.timer.phase("prepare"):
            output = super()._generate_and_score_completions(inputs)
        type(self).tokens += float(output["completion_mask"].sum())
        return output


def timed(name: str, phase: str) -> None:
    original: Callable = getattr(trl.GRPOTrainer, name)

    def call(self: TimedTrainer, *arguments: Any, **options: Any) -> Any:
        with self.timer.phase(phase):
            return original(self, *arguments, **options)

    setattr(TimedTrainer, name, call)


class Clock(TrainerCallback):
    """Closes the books after every optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[dict[str, float]] = []
        self.tokens: list[float] = []

    def on_train_begin(self, *arguments: Any, **options: Any) -> None:
        TimedTrainer.timer = PhaseTimer()

    def on_step_end(self, *arguments: Any, **options: Any) -> None:
        self.seconds.append(TimedTrainer.timer.seconds())
        self.tokens.append(TimedTrainer.tokens)
        TimedTrainer.timer, TimedTrainer.tokens = PhaseTimer(), 0.0


def main(workload: Workload, micro_batch: int, result: Path) -> None:
    for name, phase in PHASES.items():
        timed(name, phase)
    batch = workload.prompts * workload.samples
    arguments = trl.GRPOConfig(
        output_dir=str(result.parent / "trl_output"),
        use_cpu=True,
        bf16=False,
        seed=workload.seed,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=batch // micro_batch,
        generation_batch_size=batch,
        gradient_checkpointing=False,
        num_generations=workload.samples,
        max_completion_length=workload.tokens,
        beta=workload.kl_coef,
        epsilon=0.2,
        epsilon_high=0.4,
        temperature=workload.temperature,
        learning_rate=workload.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        max_grad_norm=1.0,
        max_steps=workload.steps,
        shuffle_dataset=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    clock = Clock()
    trainer = TimedTrainer(
        model=AutoModelForCausalLM.from_pretrained(workload.model, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(workload.model),
        reward_funcs=lambda completions, **ignored: [reward(text) for text in completions],
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": workload.texts}),
        callbacks=[clock],
    )
    trainer.train()
    notes = {
        "trl": trl.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "micro_batch": micro_batch,
    }
    write_result(result, seconds=clock.seconds, tokens=clock.tokens, notes=notes)


if __name__ == "__main__":
    main(Workload.read(Path(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3]))
