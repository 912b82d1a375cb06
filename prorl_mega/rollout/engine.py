"""vLLM in the learner's ranks, behind the interface that the training loop calls."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from prorl_mega.config.schema import Precision, RolloutConfig
from prorl_mega.errors import ConfigError, ProRLError, RolloutError
from prorl_mega.protocols import Finished
from prorl_mega.rollout.isolation import global_state_kept
from prorl_mega.rollout.loading import Digest, checkpoint_names, load_weights
from prorl_mega.rollout.requests import Sampled, check_prompts, read_output, sampling_params
from prorl_mega.rollout.startup import start_engine
from prorl_mega.types import Completion

NO_WEIGHTS = -1  # `version` of an engine that holds nothing to sample from


class VllmRollout:
    """One engine: this rank and its `config.tensor - 1` neighbours. The job's ranks hold world / tensor replicas.

    Every rank calls every method together, the ranks of one engine with equal arguments; engines may be given
    different prompts. It starts with random weights and refuses to sample until a push is complete, and again after
    `sleep`.

    Sampling is a function of weights, prompt, seed and settings. The same call gives the same tokens and the same bits.
    In another batch, or at another tensor parallelism, the arithmetic of a forward pass is grouped differently: in fp32
    on a CPU log-probabilities then agree to about 1e-6, and a sample takes another course only where two tokens were
    that close to each other.
    """

    def __init__(
        self,
        model: Path,
        config: RolloutConfig,
        *,
        world_size: int,
        precision: Precision,
        valid_vocab: int,
        end_ids: Sequence[int],
        seed: int,
        decode: Callable[[Sequence[np.ndarray]], list[str]],
        new_digest: Callable[[], Digest],
    ) -> None:
        """`model` is a Hugging Face directory of which only config.json is read.

        Ids from `valid_vocab` on are padding of the output projection: they have no probability. Any of `end_ids` ends
        a sample and stays in it. `decode` turns the
        tokens of many completions (`[T]` int32 each) into their texts; `new_digest` starts the checksum of a push.
        """
        if config.tensor < 1 or world_size % config.tensor:
            raise ConfigError(f"rollout.tensor={config.tensor} does not divide the {world_size} ranks of the job")
        self.version = NO_WEIGHTS
        self._loadable = True
        self._config = config
        self._valid_vocab = valid_vocab
        self._end_ids = list(end_ids)
        self._decode = decode
        self._new_digest = new_digest
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
        watch: Callable[[Finished], None],
    ) -> list[list[Completion]]:
        """`samples` completions of each prompt (`[P]` int32), `seeds[prompt][sample]` each; by prompt, in order.

        At most `max_tokens` tokens each; None, and the most: `config.max_response_tokens`. After every decoding step
        `watch` is called with the completions that ended in it; it delays the next step by as long as it takes.

        Log-probabilities are of the distribution that was sampled from, with `temperature` applied. With `top_p` below
        1 it is truncated and renormalised: right for evaluation, and no estimate of the policy to train on.

        Raises `DataError` for a prompt that does not fit, before anything is generated, and `RolloutError` if there are
        no weights or what comes back must not be used.
        """
        if self.version == NO_WEIGHTS:
            raise RolloutError("the engine has no weights: push them before sampling, and again after sleep")
        assert [len(each) for each in seeds] == [samples] * len(prompts), "one seed for each sample of each prompt"
        longest = self._config.max_response_tokens if max_tokens is None else max_tokens
        assert 1 <= longest <= self._config.max_response_tokens, f"the engine was not built for {longest} tokens"
        check_prompts(prompts, max_tokens=self._config.max_prompt_tokens, valid_vocab=self._valid_vocab)
        completions: dict[int, Completion] = {}
        with global_state_kept(), closing(self._steps(prompts, seeds, temperature, top_p, longest)) as steps:
            for sampled in steps:
                finished = self._complete(sampled)
                completions.update(finished)
                watch(finished)
        count = samples * len(prompts)
        if len(completions) != count:
            raise RolloutError(f"the engine returned {len(completions)} of {count} samples")
        return [[completions[first + i] for i in range(samples)] for first in range(0, count, samples)]

    def push(self, weights: Iterator[tuple[str, torch.Tensor]], version: int) -> str:
        """Replace all weights by (Hugging Face name, full tensor) pairs; returns the checksum of what was received.

        The iterator is consumed once, tensor by tensor. Raises `WeightSyncError` if a tensor is missing, unknown, sent
        twice or of the wrong shape; the engine then takes no further push. It is for the caller to compare the checksum
        with the sender's, and the checksums of all ranks, before anything is sampled.
        """
        assert version > NO_WEIGHTS, f"versions count from 0, not {version}"
        if not self._loadable:
            raise RolloutError("an earlier push to the engine broke off half-way; start a new engine")
        self.version, self._loadable = NO_WEIGHTS, False
        digest = self._new_digest()
        with global_state_kept():
            load_weights(self._engine, weights, self._names, digest)
        self.version, self._loadable = version, True
        return digest.hexdigest()

    def sleep(self) -> None:
        """Give the GPU memory of weights and cache to the learner. The weights are dropped; a push brings new ones.

        Without a GPU there is nothing to give, but a push is needed all the same.
        """
        self.version = NO_WEIGHTS
        if torch.cuda.is_available():
            self._engine.sleep(level=2)

    def wake(self) -> None:
        """Take the GPU memory back. The engine has no weights until they are pushed."""
        if torch.cuda.is_available():
            self._engine.wake_up()

    def _steps(
        self, prompts: list[np.ndarray], seeds: list[list[int]], temperature: float, top_p: float, max_tokens: int
    ) -> Generator[list[Sampled], None, None]:
        """The samples that end in each decoding step, until all of them have ended."""
        engine = self._engine
        # Blocks of earlier calls would change how this one is batched, and blocks of earlier weights are wrong.
        engine.reset_prefix_cache()
        names: list[str] = []
        try:
            for prompt, prompt_seeds in zip(prompts, seeds, strict=True):
                tokens = prompt.tolist()
                for seed in prompt_seeds:
                    params = sampling_params(
                        seed=seed,
                        temperature=temperature,
                        top_p=top_p,
                        max_tokens=max_tokens,
                        end_ids=self._end_ids,
                    )
                    names.append(str(len(names)))
                    engine.add_request(names[-1], {"prompt_token_ids": tokens}, params)
            while engine.has_unfinished_requests():
                yield [read_output(output, valid_vocab=self._valid_vocab) for output in engine.step()]
        except (ValueError, RuntimeError) as error:
            if isinstance(error, ProRLError):
                raise
            raise RolloutError(f"vLLM failed while sampling: {error}") from error
        finally:
            if engine.has_unfinished_requests():
                engine.abort_request(names)

    def _complete(self, sampled: list[Sampled]) -> Finished:
        """With version and text."""
        texts = self._decode([each.tokens for each in sampled]) if sampled else []
        return [
            (
                each.number,
                Completion(
                    tokens=each.tokens, logprobs=each.logprobs, finish=each.finish, version=self.version, text=text
                ),
            )
            for each, text in zip(sampled, texts, strict=True)
        ]
