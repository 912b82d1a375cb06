"""A checkpoint of a run as a Hugging Face directory, for vLLM, transformers or the next run.

    python -m prorl_mega.export runs/demo exported                                   the newest intact checkpoint
    python -m prorl_mega.export runs/demo/checkpoints/step_000120 exported           this one

Needs neither a GPU nor the number of ranks that trained. Configuration and tokenizer are those of the run's model.path.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from prorl_mega.distributed.ranks import Ranks
from prorl_mega.errors import CheckpointError, ConfigError, exit_status
from prorl_mega.huggingface.config import describe
from prorl_mega.run import manifest
from prorl_mega.run.checkpoints import Checkpoints
from prorl_mega.run.settings import read_settings

SHARD_BYTES = 5 << 30  # of one safetensors file

_POLICY = re.compile(r"policy-tp(\d+)-pp(\d+)\.safetensors")  # named by prorl_mega/learner/checkpoint.py


def export(source: Path, target: Path) -> Path:
    """Write the policy of a run directory, or of one of its checkpoints, to `target`; returns the checkpoint used.

    Raises ConfigError when `source` is neither or `target` must not be replaced, CheckpointError when the checkpoint is
    damaged, ModelError when the run's model has moved.
    """
    from prorl_mega.weights.directory import check_target, save_directory  # two seconds of imports
    from prorl_mega.weights.saved import stream_saved

    check_target(target)
    checkpoint = _newest(source) if (source / "config.yaml").is_file() else _this(source)
    settings = read_settings(checkpoint.parents[1] / "config.yaml")
    model = Path(settings["model.path"])
    stream = stream_saved(policy_files(checkpoint), describe(model, settings.get("model.family")))
    save_directory(stream, model, target, max_shard_bytes=SHARD_BYTES, writes=True)
    return checkpoint


def policy_files(checkpoint: Path) -> list[list[Path]]:
    """The files with the policy's shards, as `[stage][tensor rank]`."""
    found = {
        (int(match[2]), int(match[1])): path
        for path in checkpoint.iterdir()
        if (match := _POLICY.fullmatch(path.name)) is not None
    }
    stages, ranks = ({place[i] for place in found} for i in (0, 1))
    wanted = [[(stage, rank) for rank in range(len(ranks))] for stage in range(len(stages))]
    if not found or {place for row in wanted for place in row} != set(found):
        raise CheckpointError(f"{checkpoint}: files of the policy are missing; it has {len(found)} of them")
    return [[found[place] for place in row] for row in wanted]


def _newest(run: Path) -> Path:
    checkpoints = Checkpoints(run / "checkpoints", ranks=Ranks.alone(), keep=1, report=print)
    newest = checkpoints.newest_valid()
    if newest is None:
        raise ConfigError(f"{run} has no checkpoints yet")
    return newest.directory


def _this(checkpoint: Path) -> Path:
    if not (checkpoint.absolute().parents[1] / "config.yaml").is_file():
        raise ConfigError(f"{checkpoint} is neither a run directory nor one of its checkpoints/step_*")
    try:
        listing = manifest.read(checkpoint)
    except manifest.BrokenManifestError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from None
    if faults := manifest.complaints(checkpoint, listing, list(listing.files)):
        raise CheckpointError(f"{checkpoint} is damaged: {'; '.join(faults)}")
    return checkpoint.absolute()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.export", description="Write a checkpoint as a Hugging Face directory."
    )
    parser.add_argument("source", type=Path, help="run directory, or one of its checkpoints/step_*")
    parser.add_argument("target", type=Path, help="directory to write; a checkpoint that is there is replaced")
    options = parser.parse_args(arguments)
    return exit_status(lambda: print(f"wrote {options.target} from {export(options.source, options.target)}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
