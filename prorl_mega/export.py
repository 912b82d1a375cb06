"""A checkpoint of a run as a Hugging Face directory, for vLLM, transformers or the next run.

    python -m prorl_mega.export runs/demo exported                                   the newest intact checkpoint
    python -m prorl_mega.export runs/demo exported --best --dtype bf16               the best by validation, in bf16
    python -m prorl_mega.export runs/demo/checkpoints/step_000120 exported           this one

Needs neither a GPU nor the number of ranks that trained. Configuration and tokenizer are in the checkpoint, so that one
alone, copied to another machine, can be exported; those of version 0.1 need the run's model.path.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prorl_mega.errors import ConfigError, exit_status
from prorl_mega.huggingface.config import describe
from prorl_mega.run.checkpoints import MODEL
from prorl_mega.run.chosen import BEST_STEP, LAST, chosen_checkpoint, intact_checkpoint
from prorl_mega.run.settings import read_settings

if TYPE_CHECKING:
    import torch

DTYPES = {"bf16": "bfloat16", "fp32": "float32"}  # of model.precision, by their names in torch
SHARD_BYTES = 5 << 30  # of one safetensors file


def export(source: Path, target: Path, *, best: bool = False, dtype: str | None = None) -> Path:
    """Write the policy of a run directory, or of one of its checkpoints, to `target`; returns the checkpoint used.

    `best`: the checkpoint that validated best, not the newest. `dtype`: one of DTYPES; None: as it was trained. Raises
    ConfigError when `source` is neither or `target` must not be replaced, CheckpointError when the checkpoint is
    damaged, ModelError when it is of version 0.1 and the run's model has moved.
    """
    from prorl_mega.weights.directory import check_target, save_directory  # two seconds of imports
    from prorl_mega.weights.saved import policy_files, stream_saved

    check_target(target)
    if (source / "config.yaml").is_file():
        checkpoint = chosen_checkpoint(source, BEST_STEP if best else LAST)
    elif best:
        raise ConfigError(f"--best chooses among the checkpoints of a run, and {source} is no run directory")
    else:
        checkpoint = intact_checkpoint(source)
    file = checkpoint.parents[1] / "config.yaml"
    settings = read_settings(file) if file.is_file() else {}
    if not (checkpoint / MODEL).is_dir() and not isinstance(settings.get("model.path"), str):
        raise ConfigError(f"{file} has no model.path, and {checkpoint} no {MODEL}/; one of them has to say the model")
    model = checkpoint / MODEL if (checkpoint / MODEL).is_dir() else Path(settings["model.path"])
    stream = stream_saved(policy_files(checkpoint), describe(model, settings.get("model.family")))
    save_directory(_as_dtype(stream, dtype), model, target, max_shard_bytes=SHARD_BYTES, writes=True)
    return checkpoint


def _as_dtype(stream: Iterator[tuple[str, torch.Tensor]], dtype: str | None) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    for name, tensor in stream:
        yield name, tensor if dtype is None else tensor.to(getattr(torch, DTYPES[dtype]))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.export", description="Write a checkpoint as a Hugging Face directory."
    )
    parser.add_argument("source", type=Path, help="run directory, or one of its checkpoints/step_*")
    parser.add_argument("target", type=Path, help="directory to write; a checkpoint that is there is replaced")
    parser.add_argument("--best", action="store_true", help="the checkpoint kept by schedule.keep_best, not the newest")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights that are written; default: as trained")
    options = parser.parse_args(arguments)

    def work() -> None:
        used = export(options.source, options.target, best=options.best, dtype=options.dtype)
        print(f"wrote {options.target} from {used}")

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
