"""What engines bring home reaches every rank whole; texts reach the first alone."""

from __future__ import annotations

import numpy as np
from helpers.distributed import run_ranks

from prorl_mega.share import Share, exchange_shares
from prorl_mega.types import Completion, FinishReason, Outcome, Sample, Scoring, Verdict


def share(engine: int) -> Share:
    """Two problems with two samples each, the second engine's longer."""

    def sample(number: int) -> Sample:
        length = 1 + number + engine
        completion = Completion(
            tokens=np.arange(length, dtype=np.int32),
            logprobs=-np.arange(length, dtype=np.float32) / 3,
            finish=FinishReason.LENGTH if number % 2 else FinishReason.STOP,
            version=9,
        )
        verdict = Verdict(reward=0.1 * number, outcome=list(Outcome)[number % 2], detail="größer")
        return Sample(completion=completion, text=f"größer als {engine}.{number}", verdict=verdict)

    prompts = [np.arange(3 + engine, dtype=np.int32), np.array([], dtype=np.int32)]
    scoring = Scoring(answers=4, latency_s=0.1 + engine)
    return Share(prompts=prompts, samples=[[sample(0), sample(1)], [sample(2), sample(3)]], scoring=scoring)


def exchanged(engine_size: int) -> list[Share]:
    import torch.distributed as dist

    from prorl_mega.learner.backend import initialize_distributed

    initialize_distributed(60)
    engine, first = divmod(dist.get_rank(), engine_size)
    return exchange_shares(share(engine) if first == 0 else None)


def check(shares: list[Share], *, engines: int, with_texts: bool) -> None:
    assert len(shares) == engines
    for engine, found in enumerate(shares):
        expected = share(engine)
        assert found.scoring == expected.scoring
        for prompt, wanted in zip(found.prompts, expected.prompts, strict=True):
            np.testing.assert_array_equal(prompt, wanted, strict=True)
        for ours, theirs in zip(sum(found.samples, []), sum(expected.samples, []), strict=True):  # noqa: RUF017
            np.testing.assert_array_equal(ours.completion.tokens, theirs.completion.tokens, strict=True)
            np.testing.assert_array_equal(ours.completion.logprobs, theirs.completion.logprobs, strict=True)
            assert ours.completion.tokens.flags.writeable, "torch warns about arrays that it must not write to"
            assert (ours.completion.finish, ours.completion.version) == (theirs.completion.finish, 9)
            assert (ours.verdict, ours.reward) == (theirs.verdict, None)
            assert ours.text == (theirs.text if with_texts else "")


def test_two_engines_of_two_ranks() -> None:
    for rank, shares in enumerate(run_ranks(exchanged, 4, 2)):
        check(shares, engines=2, with_texts=rank == 0)


def test_a_process_alone() -> None:
    check(exchange_shares(share(0)), engines=1, with_texts=True)
