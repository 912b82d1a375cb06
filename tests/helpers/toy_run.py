"""A training loop without a model: every number follows from the step, so that a resumed run can be compared.

python toy_run.py ROOT STEPS [SECONDS_PER_STEP]
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from prorl_mega.config.schema import RunConfig, ScheduleConfig
from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import ExitCode, ProRLError
from prorl_mega.run.run_directory import TrainingRun
from prorl_mega.types import Decision, Event


def toy_config(root: Path, steps: int, **schedule: Any) -> RunConfig:
    options = {"save_every": 3, "evaluate_every": 4, "keep_checkpoints": 2} | schedule
    return RunConfig(name="toy", root=str(root), schedule=ScheduleConfig(steps=steps, **options))


class Toy:
    """The state of the loop: a random walk that depends on all of its past."""

    def __init__(self, rank: int = 0) -> None:
        self.value = 1
        self.rank = rank

    def advance(self) -> float:
        self.value = self.value * 6364136223846793005 % (1 << 61)
        return self.value / (1 << 61)

    def save(self, directory: Path, step: int) -> dict[str, Any]:
        (directory / f"rank_{self.rank:05d}.json").write_text(json.dumps(self.value))
        return {"controller": {"value": self.value}}

    def restore(self, directory: Path) -> None:
        self.value = json.loads((directory / f"rank_{self.rank:05d}.json").read_text())


PAUSING = "pausing"
"""A file that says that a step has begun."""


def toy_train(config: RunConfig, ranks: Ranks, pause: float = 0.0) -> ExitCode:
    toy = Toy(ranks.rank)
    with TrainingRun(config, ranks) as run:
        step = run.resume(toy.restore)
        assert run.saved_state == ({"controller": {"value": toy.value}} if step else None)
        while step < config.schedule.steps and not run.should_stop():
            with run.step(step + 1) as log:
                with log.phase("rollout"):
                    (run.directory / PAUSING).touch()
                    time.sleep(pause)
                    log.add({"reward/mean": toy.advance(), "policy/kl": toy.advance()})
                log.add({"policy/loss": toy.advance()})
                log.add({"policy/loss": toy.advance()})
                step += 1
                if run.due(step, config.schedule.evaluate_every):
                    with log.phase("evaluate"):
                        log.add({"evaluation/pass@1": toy.advance()})
                reset = step % 5 == 0
                event = Event(trigger="every", action="reset", numbers={"distance": 5}, text="reset on schedule")
                log.decide(Decision(reset_reference=reset, events=(event,) if reset else ()))
            if run.due_to_save(step):
                run.save(step, toy.save)
        return run.finish(step, toy.save)


if __name__ == "__main__":
    try:
        pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
        sys.exit(toy_train(toy_config(Path(sys.argv[1]), int(sys.argv[2])), Ranks.alone(), pause))
    except ProRLError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
