"""Shards of the vocabulary on several processes against fp64 on one: values, gradients, equal bits, messages."""

from typing import Any

import pytest
import torch
from helpers.distributed import run_ranks
from helpers.exact_token_stats import Example, gradients

from prorl_kernels.linear_token_stats import linear_token_stats

TOKENS, WIDTH, VALID, ROWS = 48, 16, 75, 104  # 29 rows of padding; on 4 ranks the last shard has no real row


def inputs() -> tuple[Example, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    made = Example(
        hidden=normal(TOKENS, WIDTH).requires_grad_(),
        weight=normal(ROWS, WIDTH).requires_grad_(),
        targets=torch.randint(0, VALID, (TOKENS,), generator=generator),
        temperature=torch.rand(TOKENS, generator=generator) + 0.5,
        ref_hidden=normal(TOKENS, 8),
        ref_weight=normal(ROWS, 8),
        softcap=9.0,
    )
    upstream = normal(4, TOKENS)
    upstream[:, ::3] = 0
    return made, upstream


class Messages:
    """Counts collectives by name while it is entered."""

    NAMES = ("all_gather_into_tensor", "all_reduce", "reduce_scatter_tensor")

    def __enter__(self) -> dict[str, int]:
        self.count = dict.fromkeys(self.NAMES, 0)
        self.real = {name: getattr(torch.distributed, name) for name in self.NAMES}
        for name in self.NAMES:
            setattr(torch.distributed, name, self._counting(name))
        return self.count

    def _counting(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count[name] += 1
            return self.real[name](*args, **kwargs)

        return call

    def __exit__(self, *error: object) -> None:
        for name, function in self.real.items():
            setattr(torch.distributed, name, function)


def on_a_rank(bounds: list[int] | None, options: dict[str, Any]) -> tuple[list[Any], dict[str, int]]:
    torch.distributed.init_process_group("gloo")
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)
    group = torch.distributed.group.WORLD
    rank, ranks = group.rank(), group.size()
    made, upstream = inputs()
    assert made.ref_weight is not None
    assert made.ref_hidden is not None
    cuts = [ROWS * each // ranks for each in range(ranks + 1)] if bounds is None else bounds
    columns = slice(cuts[rank], cuts[rank + 1])
    place = {"vocab_start": None if bounds is None else cuts[rank], "valid_vocab": VALID, "tensor_group": group}
    shard = made.weight.detach()[columns].clone().requires_grad_()
    tokens = slice(None)
    if options.get("sequence_parallel"):
        tokens = slice(TOKENS // ranks * rank, TOKENS // ranks * (rank + 1))
    hidden = made.hidden.detach()[tokens].clone().requires_grad_()
    arguments = made.arguments | place | options
    arguments |= {"hidden": hidden, "weight": shard, "ref_weight": made.ref_weight[columns]}
    arguments |= {"ref_hidden": made.ref_hidden[tokens]}
    if options.get("ignore_index") is not None:
        arguments["targets"] = made.targets.masked_fill(torch.arange(TOKENS) % 3 == 0, options["ignore_index"])
    with Messages() as messages:
        stats = linear_token_stats(**arguments)
        grads = gradients(stats, upstream, hidden, shard)
    results = [*stats, *grads]
    nothing = linear_token_stats(hidden[:0], shard, made.targets[:0], **(place | options))
    nothing.logprob.sum().backward()
    return [each.detach().numpy() for each in results], messages


CASES: dict[str, tuple[int, list[int] | None, dict[str, Any]]] = {
    "1": (1, None, {}),
    "2": (2, None, {}),
    "4": (4, None, {"chunk_bytes": 4_000}),
    "uneven": (3, [0, 10, 71, 104], {"chunk_bytes": 4_000}),
    "sequence": (2, None, {"sequence_parallel": True}),
    "sequence on 4, in tiles": (4, None, {"sequence_parallel": True, "chunk_bytes": 4_000}),
    "sequence, uneven, ignored, cached": (
        3,
        [0, 10, 71, 104],
        {"sequence_parallel": True, "ignore_index": -100, "cache_bytes": 100_000},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_shards_equal_the_whole(case: str) -> None:
    ranks, bounds, options = CASES[case]
    outcomes = run_ranks(on_a_rank, ranks, bounds, options)
    results = [[torch.from_numpy(each) for each in found] for found, _ in outcomes]
    made, upstream = inputs()
    truth = made.exact(VALID)
    of_hidden, of_weight = gradients(truth, upstream, made.hidden, made.weight)
    computed = torch.arange(TOKENS) % 3 != 0 if "ignore_index" in options else torch.ones(TOKENS, dtype=torch.bool)
    split = options.get("sequence_parallel", False)
    found_hidden = torch.cat([result[5] for result in results]) if split else results[0][5]
    pairs = [(results[0][i] * computed, each.detach() * computed) for i, each in enumerate(truth) if each is not None]
    pairs += [(found_hidden, of_hidden), (torch.cat([result[6] for result in results]), of_weight)]
    for actual, wanted in pairs:
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5, check_dtype=False)
    for result in results[1:]:
        same = [i for i in range(6) if not (split and i == 5)]
        assert all(torch.equal(result[i], results[0][i]) for i in same)
    gathers = 1 + 2 * 2 * split  # statistics; hidden and ref_hidden, forward and backward
    expected = {"all_gather_into_tensor": gathers, "all_reduce": int(not split), "reduce_scatter_tensor": int(split)}
    assert all(messages == (expected if ranks > 1 else dict.fromkeys(expected, 0)) for _, messages in outcomes)


def misuse_on_a_rank() -> dict[str, str]:
    torch.distributed.init_process_group("gloo")
    group = torch.distributed.group.WORLD
    rank = group.rank()
    made, _ = inputs()
    messages = {}

    def attempt(name: str, **changes: Any) -> None:
        arguments = {"hidden": made.hidden, "weight": made.weight[:40], "targets": made.targets}
        try:
            linear_token_stats(**(arguments | {"tensor_group": group} | changes))
        except ValueError as error:
            messages[name] = str(error)

    attempt("gap", vocab_start=rank * 41)
    attempt("overlap", vocab_start=rank * 39)
    attempt("uneven without vocab_start", weight=made.weight[: 40 + rank])
    attempt("not covered", valid_vocab=81)
    attempt("order", vocab_start=(1 - rank) * 40)
    attempt("disagreement", valid_vocab=78 + rank)
    attempt("reference", implementation="reference")
    attempt("tokens", sequence_parallel=True)
    attempt("fits", valid_vocab=80)
    return messages


def test_shards_that_do_not_fit_together_are_named() -> None:
    for messages in run_ranks(misuse_on_a_rank, 2):
        assert "[0, 40), [41, 81): each range must begin where the one before it ends" in messages["gap"]
        assert "[0, 40), [39, 79)" in messages["overlap"]
        assert "[0, 40), [41, 82)" in messages["uneven without vocab_start"]
        assert "[0, 40), [40, 80), but valid_vocab=81" in messages["not covered"]
        assert "[40, 80), [0, 40)" in messages["order"]
        assert "valid_vocab differs between the ranks of tensor_group: [78, 79]" in messages["disagreement"]
        assert "whole vocabulary on one rank" in messages["reference"]
        assert "targets must be [96]" in messages["tokens"]
        assert "fits" not in messages
