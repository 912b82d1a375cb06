"""What ranks tell each other arrives whole, whoever says it and however long it is."""

from __future__ import annotations

from helpers.distributed import run_ranks

from prorl_mega.exchange import all_gather_bytes, broadcast_bytes, job_ranks

LARGE = bytes(range(256)) * 4096


def exchanged() -> list[object]:
    from prorl_mega.learner.backend import initialize_distributed

    initialize_distributed(60)
    ranks = job_ranks()
    return [
        all_gather_bytes(LARGE if ranks.rank == 1 else b""),
        all_gather_bytes(b""),
        broadcast_bytes(LARGE if ranks.is_first else b"of another length"),
        broadcast_bytes(b"" if ranks.is_first else LARGE),
        ranks.broadcast(["größer", ranks.rank]),
        ranks.gather(ranks.rank),
    ]


def test_bytes_between_processes() -> None:
    expected = [[b"", LARGE, b""], [b""] * 3, LARGE, b"", ["größer", 0], [0, 1, 2]]
    assert run_ranks(exchanged, 3) == [expected] * 3


def test_a_process_alone_needs_no_group() -> None:
    ranks = job_ranks()
    assert (all_gather_bytes(b"x"), broadcast_bytes(b"x"), ranks.broadcast([1])) == ([b"x"], b"x", [1])
