"""Step 0: the numbers of the policy that training begins with."""

from __future__ import annotations

import time
from pathlib import Path

from helpers.toy_run import Toy, toy_config, toy_train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.run.jsonl import read_rows
from prorl_mega.run.run_directory import TrainingRun


def test_the_numbers_of_step_0_survive_a_resume_and_no_fresh_start(tmp_path: Path) -> None:
    path = tmp_path / "toy" / "metrics.jsonl"
    with TrainingRun(toy_config(tmp_path, 3), Ranks.alone()) as run:
        run.resume(Toy().restore)
        for score in (0.1, 0.2):  # an attempt that ended before the first step, and one more
            run.before_training({"evaluation/pass@1": score})
    toy_train(toy_config(tmp_path, 3), Ranks.alone())
    assert [row["step"] for row in read_rows(path)] == [1, 2, 3]
    with TrainingRun(toy_config(tmp_path, 6), Ranks.alone()) as run:
        run.resume(Toy().restore)
        run.before_training({"evaluation/pass@1": 0.2})
    assert list(read_rows(path)) == [{"step": 0, "evaluation/pass@1": 0.2}]
    toy_train(toy_config(tmp_path, 6), Ranks.alone())
    assert [row["step"] for row in read_rows(path)] == [0, 4, 5, 6]
    time.sleep(1.1)
    (tmp_path / "toy" / "checkpoints").rename(tmp_path / "moved")
    with TrainingRun(toy_config(tmp_path, 6), Ranks.alone()) as run:
        run.resume(Toy().restore)
        run.before_training({"evaluation/pass@1": 0.3})
    accumulator = EventAccumulator(str(tmp_path / "toy" / "tensorboard"), purge_orphaned_data=True)
    accumulator.Reload()
    points = [(event.step, round(event.value, 3)) for event in accumulator.Scalars("evaluation/pass@1")]
    assert points == [(0, 0.3)], "what an earlier start has left is hidden"
