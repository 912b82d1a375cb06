"""Groups that are judged in a thread of their own: each sample as soon as it has arrived, whatever the caller does.

While the learner computes an update, servers go on sampling and verifiers go on judging.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from prorl_mega.huggingface.tokenizer import Tokenizer
from prorl_mega.protocols import Batch, Verifiers
from prorl_mega.types import Completion, Problem, Sample, Scoring

POLL_S = 0.05  # between two looks at what has arrived, while verdicts are waited for
IDLE_S = 0.2  # the same while there is nothing to judge


@dataclass(slots=True)
class _OpenGroup:
    problem: Problem
    count: int
    done: Callable[[list[Sample]], None] | None
    samples: dict[int, Sample] = field(default_factory=dict)  # by place


_Arrival = tuple[int, int, Completion]  # group, place among its samples


class GroupJudge(contextlib.AbstractContextManager["GroupJudge"]):
    """Judges with `verifiers`, of which it makes one batch at a time; `batch` lets others in between.

    Groups are named by numbers of the caller's. Leaving it ends the thread; the verifiers stay the caller's, but their
    workers that were started in that thread end with it, as with a process (PR_SET_PDEATHSIG): it comes last.
    """

    def __init__(self, verifiers: Verifiers, tokenizer: Tokenizer) -> None:
        self._verifiers, self._tokenizer = verifiers, tokenizer
        self._open: dict[int, _OpenGroup] = {}
        self._arrived: SimpleQueue[_Arrival] = SimpleQueue()
        self._finished: SimpleQueue[tuple[int, list[Sample]] | BaseException] = SimpleQueue()
        self._scoring, self._told = Scoring(), Scoring()  # of all ended batches; of all that `take_scoring` has told
        self.error: BaseException | None = None  # what judging, or what it waits for, has failed with
        self._batch: Batch | None = None
        self._counting = threading.Lock()  # so that a batch that ends counts once
        self._turn = threading.Lock()  # whose batch it is
        self._stands_aside = threading.Event()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="judging", daemon=True)
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def expect(
        self, number: int, problem: Problem, samples: int, done: Callable[[list[Sample]], None] | None = None
    ) -> None:
        """Group `number` has so many samples, which will be `put`. Judged, they are handed to `done`, in the judging
        thread, or by `finished`."""
        self._open[number] = _OpenGroup(problem, samples, done)

    def put(self, number: int, place: int, completion: Completion) -> None:
        """A sample of group `number` has arrived. From any thread."""
        self._arrived.put((number, place, completion))

    def fail(self, error: BaseException) -> None:
        """`finished` raises `error`. From any thread."""
        self.error = error
        self._finished.put(error)

    def finished(self, seconds: float) -> list[tuple[int, list[Sample]]]:
        """The groups whose samples are all judged, each once; waits for at most `seconds` for the first.

        Raises what `fail` was given, and what went wrong in judging.
        """
        found: list[tuple[int, list[Sample]]] = []
        with contextlib.suppress(Empty):
            while True:
                each = self._finished.get_nowait() if found else self._finished.get(timeout=seconds)
                if isinstance(each, BaseException):
                    raise each
                found.append(each)
        return found

    def take_scoring(self) -> Scoring:
        """The counts of scoring since the last call. Nobody has waited for verdicts alone: `tail_s` is 0."""
        now = Scoring()
        with self._counting:
            now += self._scoring
            if self._batch is not None:
                now += self._batch.scoring
        before, self._told = self._told, now
        found = now.since(before)
        found.tail_s = 0.0
        return found

    @contextlib.contextmanager
    def batch(self) -> Iterator[Batch]:
        """A batch of the verifiers for somebody else: what is being judged is finished first, the rest waits."""
        self._stands_aside.set()
        try:
            with self._turn, self._verifiers.batch() as batch:
                yield batch
        finally:
            self._stands_aside.clear()

    def close(self) -> None:
        self._is_closing.set()
        self._thread.join()

    # In the thread.

    def _run(self) -> None:
        try:
            while not self._is_closing.is_set():
                if self._stands_aside.is_set():
                    time.sleep(POLL_S)
                elif arrived := self._take(IDLE_S):
                    with self._turn, self._verifiers.batch() as batch:
                        self._batch = batch
                        self._judge(batch, arrived)
                        with self._counting:
                            self._batch = None
                            self._scoring += batch.scoring
        except BaseException as error:
            self.fail(error)

    def _take(self, seconds: float) -> list[_Arrival]:
        """Samples that have arrived; waits for at most `seconds` for the first."""
        found: list[_Arrival] = []
        with contextlib.suppress(Empty):
            found.append(self._arrived.get(timeout=seconds) if seconds else self._arrived.get_nowait())
            while True:
                found.append(self._arrived.get_nowait())
        return found

    def _judge(self, batch: Batch, arrived: list[_Arrival]) -> None:
        """Judge these, and what arrives until all is judged or the thread has to stand aside."""
        asked: dict[int, tuple[int, int, Sample]] = {}  # by the number of the answer in the batch
        count = 0
        while (arrived or asked) and not self._is_closing.is_set():
            texts = self._tokenizer.decode_batch([completion.tokens for _, _, completion in arrived])
            for (number, place, completion), text in zip(arrived, texts, strict=True):
                if (group := self._open.get(number)) is not None:
                    batch.add(group.problem, text)
                    asked[count] = number, place, Sample(completion=completion, text=text)
                    count += 1
            batch.wait(POLL_S)
            for answer, verdict in batch.drain():
                number, place, sample = asked.pop(answer)
                sample.verdict = verdict
                self._judged(number, place, sample)
            arrived = [] if self._stands_aside.is_set() else self._take(0)

    def _judged(self, number: int, place: int, sample: Sample) -> None:
        if (group := self._open.get(number)) is None:
            return
        group.samples[place] = sample
        if len(group.samples) == group.count and self._open.pop(number, None) is group:
            samples = [group.samples[place] for place in sorted(group.samples)]
            if group.done is not None:
                group.done(samples)
            else:
                self._finished.put((number, samples))
