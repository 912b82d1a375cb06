"""Several ranks in one process: threads that exchange texts through a barrier."""

import threading
from collections.abc import Callable
from typing import Any

from prorl_mega.distributed.ranks import Ranks


def run_ranks(world_size: int, work: Callable[[Ranks], Any], timeout_s: float = 30.0) -> list[Any]:
    """`work(ranks)` on every rank at once; results in rank order, exceptions as values. A rank that waits for one that
    never comes gets a BrokenBarrierError."""
    barrier = threading.Barrier(world_size, timeout=timeout_s)
    texts = [""] * world_size
    results: list[Any] = [None] * world_size

    def exchange_of(rank: int) -> Callable[[str], list[str]]:
        def exchange(text: str) -> list[str]:
            texts[rank] = text
            barrier.wait()
            everything = list(texts)
            barrier.wait()  # nobody overwrites before all have read
            return everything

        return exchange

    def main(rank: int) -> None:
        try:
            exchange = exchange_of(rank)
            ranks = Ranks(
                rank=rank, world_size=world_size, gather_texts=exchange, broadcast_text=lambda text: exchange(text)[0]
            )
            results[rank] = work(ranks)
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=main, args=(rank,), daemon=True) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    assert not any(thread.is_alive() for thread in threads), "a rank is still waiting"
    return results
