"""The learner's log-probabilities against Hugging Face's, fp32, however the model is cut and the tokens are packed.

The reference runs in this process, one sequence at a time. The learner runs once, on four ranks that go through all
layouts; what tensor and pipeline parallelism leave over is data parallelism, and every replica must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.shards import described
from helpers.tiny import FAMILIES, tiny_checkpoint
from safetensors.torch import load_file, save_file

BOUND = 1e-5
TEMPERATURE = 1.2
LENGTHS = (5, 33, 70, 2, 64, 18, 33)
PACKINGS = {
    "packed": ((0, 1, 2, 3, 4, 5, 6),),
    "two packs": ((2, 0, 5), (1, 3, 4, 6)),
    "unpacked": tuple((i,) for i in range(len(LENGTHS))),
}


@dataclass(frozen=True)
class Cut:
    tensor: int
    pipeline: int
    sequence: bool = False
    recompute: bool = False
    expert: int = 1
    expert_tensor: int = 0

    def __str__(self) -> str:
        text = f"{self.tensor}x{self.pipeline}" + " SP" * self.sequence + " recompute" * self.recompute
        experts = f" EP {self.expert}" * (self.expert > 1)
        return text + experts + f" ETP {self.expert_tensor}" * bool(self.expert_tensor)


CUTS = (
    Cut(1, 1),
    Cut(2, 1),
    Cut(1, 2),
    Cut(2, 2),
    Cut(4, 1),  # twice as many ranks as key/value heads
    Cut(2, 1, sequence=True),
    Cut(2, 2, sequence=True, recompute=True),
)


EXPERT_CUTS = (
    Cut(1, 1),
    Cut(1, 1, expert=2),
    Cut(1, 1, expert=4),
    Cut(1, 2, expert=2),
    Cut(2, 1, sequence=True),
    Cut(2, 1, sequence=True, expert=2),
    Cut(2, 1, sequence=True, expert=4, expert_tensor=1),
    Cut(2, 1, sequence=True, expert=2, expert_tensor=1, recompute=True),
    Cut(2, 2, sequence=True, expert=2, expert_tensor=1),
)
EXPERTS = "qwen3_moe"


def sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, 259, (length,), generator=generator) for length in LENGTHS]


def reference(directory: Path) -> dict[str, torch.Tensor]:
    """Log-probability and entropy of every next token, by Hugging Face."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    expected = {}
    with torch.no_grad():
        for i, tokens in enumerate(sequences()):
            scores = torch.log_softmax(model(tokens[None, :-1]).logits[0] / TEMPERATURE, dim=-1)
            expected[f"logprob/{i}"] = scores.gather(1, tokens[1:, None]).squeeze(1).contiguous()
            expected[f"entropy/{i}"] = -(scores.exp() * scores).sum(-1)
    return expected


def measure(directories: dict[str, str]) -> dict[str, float]:
    """On every rank: largest difference to the reference by "family, cut, packing"."""
    from prorl_mega.learner import backend

    backend.activate()
    backend.initialize_distributed(60)
    return {
        f"{family}, {cut}, {packing}": difference
        for family, directory in directories.items()
        for cut in (EXPERT_CUTS if family == EXPERTS else CUTS)
        for packing, difference in measure_cut(Path(directory), cut)
    }


def measure_cut(directory: Path, cut: Cut) -> Iterator[tuple[str, float]]:
    from prorl_mega.config.schema import ParallelConfig, Precision, Recompute
    from prorl_mega.learner.model import build_model, global_names
    from prorl_mega.learner.parallel import initialize_parallel
    from prorl_mega.weights.load import load_weights

    parallel = ParallelConfig(
        tensor=cut.tensor, pipeline=cut.pipeline, sequence=cut.sequence, expert=cut.expert,
        expert_tensor=cut.expert_tensor,
    )  # fmt: skip
    layout = initialize_parallel(parallel, seed=1)
    description = described(directory)
    (model,) = build_model(
        description,
        parallel,
        precision=Precision.auto,
        recompute=Recompute.full if cut.recompute else Recompute.none,
        valid_vocab=description.vocab_size,
    )
    load_weights(directory, {k: v.data for k, v in global_names(model).items()}, description, layout)
    expected = load_file(directory / "expected.safetensors")
    for packing, packs in PACKINGS.items():
        found = statistics(model, packs, multiple=cut.tensor if cut.sequence else 1)
        assert (found == {}) == (layout.pipeline_rank < layout.pipeline_size - 1)
        assert {key: value.shape for key, value in found.items()} == (
            {k: v.shape for k, v in expected.items()} if found else {}
        )
        yield packing, max((float((found[key] - expected[key]).abs().max()) for key in found), default=0.0)


def statistics(model: torch.nn.Module, packs: tuple[tuple[int, ...], ...], multiple: int) -> dict[str, torch.Tensor]:
    """Log-probabilities and entropies by sequence, from Megatron's forward schedule; empty before the last stage."""
    from megatron.core.pipeline_parallel import get_forward_backward_func

    from prorl_kernels.linear_token_stats import linear_token_stats
    from prorl_mega.learner.packed_sequences import pack_lengths
    from prorl_mega.learner.parallel import process_groups

    texts = sequences()
    group = process_groups().tensor

    def finish(chosen: tuple[int, ...], hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict]:
        targets = torch.cat([texts[i][1:] for i in chosen])
        stats = linear_token_stats(
            hidden[: len(targets)],
            model.output_weight(),
            targets,
            TEMPERATURE,
            valid_vocab=model.valid_vocab,
            tensor_group=group if group.size() > 1 else None,
        )
        lengths = [len(texts[i]) - 1 for i in chosen]
        kept = {f"logprob/{i}": part for i, part in zip(chosen, stats.logprob.split(lengths), strict=True)}
        kept |= {f"entropy/{i}": part for i, part in zip(chosen, stats.entropy.split(lengths), strict=True)}
        return stats.logprob.sum(), torch.zeros((), dtype=torch.int), kept

    def forward_step(batches: Iterator[tuple[int, ...]], model: Any) -> tuple[torch.Tensor, Any]:
        chosen = next(batches)
        packed = pack_lengths([len(texts[i]) - 1 for i in chosen], multiple=multiple, device=torch.device("cpu"))
        tokens = torch.cat([texts[i][:-1] for i in chosen])
        tokens = torch.nn.functional.pad(tokens, (0, packed.tokens - len(tokens)))
        return model(tokens, packed), lambda hidden: finish(chosen, hidden)

    with torch.no_grad():
        kept = get_forward_backward_func()(
            forward_step_func=forward_step,
            data_iterator=iter(packs),
            model=[model],
            num_microbatches=len(packs),
            seq_length=sum(LENGTHS),
            micro_batch_size=1,
            forward_only=True,
        )
    return {key: value for part in kept for key, value in part.items()}


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    root = tmp_path_factory.mktemp("checkpoints")
    directories = {family: str(tiny_checkpoint(root / family, family)) for family in (*FAMILIES, EXPERTS)}
    for directory in directories.values():
        save_file(reference(Path(directory)), Path(directory) / "expected.safetensors")
    ranks = run_ranks(measure, 4, directories)
    return {case: max(rank[case] for rank in ranks) for case in ranks[0]}


def test_logprobs_equal_hugging_face(differences: dict[str, float]) -> None:
    for cut in CUTS:
        cells = [
            f"{family} {max(differences[f'{family}, {cut}, {packing}'] for packing in PACKINGS):.1e}"
            for family in FAMILIES
        ]
        print(f"TPxPP {cut!s:<18} max abs of log-probs and entropies: {', '.join(cells)}")
    for cut in EXPERT_CUTS:
        print(f"experts {cut!s:<25} {max(differences[f'{EXPERTS}, {cut}, {packing}'] for packing in PACKINGS):.1e}")
    assert len(differences) == (len(CUTS) * len(FAMILIES) + len(EXPERT_CUTS)) * len(PACKINGS)
    worst = max(differences, key=differences.__getitem__)
    assert 0.0 < differences[worst] <= BOUND, worst
