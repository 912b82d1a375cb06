"""Small messages between the ranks of one job: flags, file names, hashes. Does not import torch.

Two primitives are handed in: `gather_texts(text)` returns the texts of all ranks in rank order, and is a barrier as
well; `broadcast_text(text)` returns rank 0's, which may be large. Over `torch.distributed` they are an all-gather and a
broadcast of UTF-8 bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prorl_mega import errors


@dataclass(kw_only=True, slots=True, frozen=True)
class Ranks:
    """This process among its peers. Every method is collective: all ranks call it, in the same order."""

    rank: int
    world_size: int
    gather_texts: Callable[[str], list[str]]
    broadcast_text: Callable[[str], str]

    @classmethod
    def alone(cls) -> Ranks:
        """A job of one process."""
        return cls(rank=0, world_size=1, gather_texts=lambda text: [text], broadcast_text=lambda text: text)

    @property
    def is_first(self) -> bool:
        """Whether this rank writes the files that all share."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all ranks, in rank order."""
        return [json.loads(text) for text in self.gather_texts(json.dumps(value))]

    def broadcast(self, value: Any) -> Any:
        """The JSON value of rank 0; what the others pass is ignored."""
        return json.loads(self.broadcast_text(json.dumps(value) if self.is_first else ""))

    def any(self, flag: bool) -> bool:
        """True on every rank when it is true on at least one."""
        return any(self.gather(bool(flag)))

    @contextlib.contextmanager
    def raise_on_all_ranks(self, doing: str) -> Iterator[None]:
        """A section that succeeds on all ranks or raises on all of them, so that no rank waits for one that has failed.

        The rank that failed raises its own error; the others raise one of the same class that names the rank.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        reports = self.gather(None if failure is None else [type(failure).__name__, str(failure)])
        if failure is not None:
            raise failure
        for rank, report in enumerate(reports):
            if report is not None:
                raise _same_class(report[0])(f"{doing}: rank {rank}: {report[1]}")


def _same_class(name: str) -> type[Exception]:
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, errors.ProRLError) else RuntimeError
