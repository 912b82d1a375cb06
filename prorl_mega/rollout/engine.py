"""vLLM in the learner's ranks, behind the interface that the training loop calls."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from prorl_mega.checksum import Checksum
from prorl_mega.config.schema import Precision, RolloutConfig
from prorl_mega.errors import ProRLError, RolloutError
from prorl_mega.protocols import Finished
from prorl_mega.rollout.isolation import global_state_kept
from prorl_mega.rollout.loading import checkpoint_names, load_into_engine
from prorl_mega.rollout.requests import check_prompts, read_output, sampling_params, seeded
from prorl_mega.rollout.startup import start_engine
from prorl_mega.types import Metrics

NO_WEIGHTS = -1  # `version` of an engine that holds nothing to sample from


class VllmRollout:
    """One engine: this rank and its `config.tensor - 1` neighbours. The job's ranks hold world / tensor replicas.

    Every rank calls every method together, the ranks of one engine with equal arguments; engines may be given
    different prompts. It starts with random weights and refuses to sample until `update_weights` is complete, and
    again after `sleep`.

    Sampling is a function of weights, prompt, seed and settings. The same call gives the same tokens and the same bits.
    In another batch, or at another tensor parallelism, the arithmetic of a forward pass is grouped differently: in fp32
    on a CPU log-probabilities then agree to about 1e-6, and a sample changes only where two tokens were that
    close to each other.
    """

    def __init__(
        self,
        model: Path,
        config: RolloutConfig,
        *,
        precision: Precision,
        valid_vocab: int,
        end_ids: Sequence[int],
        seed: int,
    ) -> None:
        """`model` is a Hugging Face directory of which only config.json is read.

        Ids from `valid_vocab` on are padding of the output projection: they have no probability. Any of `end_ids` ends
        a sample and stays in it.
        """
        self.version = NO_WEIGHTS
        self._loadable = True
        self._config = config
        self._valid_vocab = valid_vocab
        self._end_ids = list(end_ids)
        with global_state_kept():
            self._engine = start_engine(model, config, precision=precision, valid_vocab=valid_vocab, seed=seed)
            (self._names,) = self._engine.apply_model(checkpoint_names)

    def generate(
        self,
        prompts: list[np.ndarray],
        *,
        samples: int,
        seeds: list[list[int]],
        temperature: float,
        top_p: float,
        max_tokens: int | None,
    ) -> Generator[Finished]:
        """Sample `samples` completions of each prompt (`[P]` int32), with `seeds[prompt][sample]`, step by step.

        Each iteration is one decoding step and yields the completions that ended in it; the engine does nothing in
        between. Exhaust or close the generator, which aborts unfinished samples. A completion has at most `max_tokens`
        tokens; None, and the most: `config.max_response_tokens`.

        Log-probabilities are of the distribution that was sampled from, with `temperature` applied. With `top_p` below
        1 it is truncated and renormalised: right for evaluation, and no estimate of the policy to train on.

        Raises `DataError` for a prompt that does not fit, before anything is sampled, and `RolloutError` if there are
        no weights or what comes back must not be used.
        """
        assert [len(each) for each in seeds] == [samples] * len(prompts), "one seed for each sample of each prompt"
        self._check(max_tokens, prompts)
        wanted = [(prompt, seed) for prompt, row in zip(prompts, seeds, strict=True) for seed in row]
        yield from self._decode(
            iter(wanted), ahead=len(wanted), temperature=temperature, top_p=top_p, max_tokens=max_tokens
        )

    def stream(
        self,
        requests: Iterator[tuple[np.ndarray, int]],
        *,
        ahead: int,
        temperature: float,
        top_p: float,
        max_tokens: int | None,
    ) -> Generator[Finished]:
        """`generate` for a stream of (prompt, seed), of which at most `ahead` have been taken and not ended at a time.

        Completions are numbered in the order of the requests. With `ahead` of twice `config.max_concurrent` and more
        the engine never lacks a sequence that it could decode.
        """
        self._check(max_tokens)
        yield from self._decode(
            self._checked(requests), ahead=ahead, temperature=temperature, top_p=top_p, max_tokens=max_tokens
        )

    def _decode(
        self,
        requests: Iterator[tuple[np.ndarray, int]],
        *,
        ahead: int,
        temperature: float,
        top_p: float,
        max_tokens: int | None,
    ) -> Generator[Finished]:
        """`stream` of requests that have been checked."""
        longest = self._config.max_response_tokens if max_tokens is None else max_tokens
        params = sampling_params(temperature=temperature, top_p=top_p, max_tokens=longest, end_ids=self._end_ids)
        taken = ended = 0
        with global_state_kept(), self._requests() as open_ids:
            while True:
                for prompt, seed in islice(requests, ahead - len(open_ids)):
                    open_ids.add(str(taken))
                    self._engine.add_request(str(taken), {"prompt_token_ids": prompt.tolist()}, seeded(params, seed))
                    taken += 1
                if not self._engine.has_unfinished_requests():
                    break
                finished = [
                    read_output(output, valid_vocab=self._valid_vocab, version=self.version)
                    for output in self._engine.step()
                ]
                open_ids.difference_update(str(index) for index, _ in finished)
                ended += len(finished)
                yield finished
        if ended != taken:
            raise RolloutError(f"the engine returned {ended} of {taken} samples")

    def update_weights(self, weights: Iterator[tuple[str, torch.Tensor]], version: int) -> str:
        """Replace all weights by (Hugging Face name, full tensor) pairs; returns the checksum of what was received.

        The iterator is consumed once, tensor by tensor. Raises `WeightSyncError` if a tensor is missing, unknown, sent
        twice or of the wrong shape; the engine then takes no further weights. The caller compares the checksum with the
        sender's, and the checksums of all ranks, before anything is sampled.
        """
        assert version > NO_WEIGHTS, f"versions count from 0, not {version}"
        if not self._loadable:
            raise RolloutError("an earlier update of the engine's weights broke off half-way; start a new engine")
        self.version, self._loadable = NO_WEIGHTS, False
        received = Checksum()
        with global_state_kept():
            load_into_engine(self._engine, received.observe(weights), self._names)
        self.version, self._loadable = version, True
        return received.hexdigest()

    def sleep(self) -> None:
        """Give the GPU memory of weights and cache to the learner. The weights are dropped, also without a GPU, where
        there is no memory to give: `update_weights` is needed next.
        """
        self.version = NO_WEIGHTS
        if torch.cuda.is_available():
            self._engine.sleep(level=2)

    def wake(self) -> None:
        """Take the GPU memory back. The engine has no weights until `update_weights`."""
        if torch.cuda.is_available():
            self._engine.wake_up()

    def metrics(self) -> Metrics:
        """Nothing: an engine in this process either works or ends it."""
        return {}

    def _checked(self, requests: Iterator[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
        """The requests; raises DataError when it comes to a prompt that does not fit."""
        for index, request in enumerate(requests):
            most, vocab = self._config.max_prompt_tokens, self._valid_vocab
            check_prompts([request[0]], max_tokens=most, valid_vocab=vocab, first=index)
            yield request

    def _check(self, max_tokens: int | None, prompts: Sequence[np.ndarray] = ()) -> None:
        """Refuse to sample what cannot be: without weights, beyond the engine's length, prompts that do not fit."""
        if self.version == NO_WEIGHTS:
            raise RolloutError("the engine has no weights: update_weights comes before sampling, and again after sleep")
        most = self._config.max_response_tokens
        assert 1 <= (most if max_tokens is None else max_tokens) <= most, f"not built for {max_tokens} tokens"
        check_prompts(prompts, max_tokens=self._config.max_prompt_tokens, valid_vocab=self._valid_vocab)

    @contextmanager
    def _requests(self) -> Iterator[set[str]]:
        """A block of requests, whose ids the caller keeps in the set while they are open, and of which none is left
        behind; vLLM's errors in it are `RolloutError`s."""
        engine = self._engine
        open_ids: set[str] = set()
        # Blocks of earlier calls would change how this one is batched, and blocks of earlier weights are wrong.
        engine.reset_prefix_cache()
        try:
            yield open_ids
        except (ValueError, RuntimeError) as error:
            if isinstance(error, ProRLError):
                raise
            raise RolloutError(f"vLLM failed while sampling: {error}") from error
        finally:
            if engine.has_unfinished_requests():
                engine.abort_request(sorted(open_ids))
