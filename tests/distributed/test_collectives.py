"""What ranks tell each other arrives whole, whoever says it and however long it is."""

from __future__ import annotations

from helpers.distributed import run_ranks

from prorl_mega.distributed.collectives import all_gather_bytes, broadcast_bytes, gather_bytes, job_ranks

LARGE = bytes(range(256)) * 4096


def exchanged() -> list[object]:
    from prorl_mega.learner.backend import initialize_distributed

    initialize_distributed(60)
    ranks = job_ranks()
    return [
        all_gather_bytes(LARGE if ranks.rank == 1 else b""),
        all_gather_bytes(b""),
        gather_bytes(LARGE if ranks.rank == 1 else b"short"),
        broadcast_bytes(LARGE if ranks.is_first else b"of another length"),
        broadcast_bytes(b"" if ranks.is_first else LARGE),
        ranks.broadcast(["größer", ranks.rank]),
        ranks.gather(ranks.rank),
    ]


def test_bytes_between_processes() -> None:
    expected = [[b"", LARGE, b""], [b""] * 3, [], LARGE, b"", ["größer", 0], [0, 1, 2]]
    first, *others = run_ranks(exchanged, 3)
    assert first == [*expected[:2], [b"short", LARGE, b"short"], *expected[3:]]
    assert others == [expected] * 2


def test_a_process_alone_needs_no_group() -> None:
    ranks = job_ranks()
    assert (all_gather_bytes(b"x"), gather_bytes(b"x"), broadcast_bytes(b"x")) == ([b"x"], [b"x"], b"x")
    assert ranks.broadcast([1]) == [1]
