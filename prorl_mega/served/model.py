"""A model behind a server with OpenAI's API, as something that an evaluation samples from."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

import numpy as np

from prorl_mega.config.schema import ChatConfig, ServerApi, ServerConfig
from prorl_mega.errors import ConfigError, DataError
from prorl_mega.run.console import counted, printable
from prorl_mega.sample_requests import SampleAnswer, SampleRequest
from prorl_mega.served.connection import Connection, RequestRefusedError, UnansweredError
from prorl_mega.served.messages import (
    chat_body,
    chat_wishes,
    completion_wishes,
    read_answer,
    read_models,
    well_formed,
)

TICK_S = 0.2  # the longest that the caller of `answers` waits for its turn
_BYTES, _TOKEN_BYTES = 1 << 20, 2048  # of a reply: at most so many, and so many more for each token
_KEY_HINT = "set evaluation.server.key_env to the environment variable that holds the key"


class PromptTokenizer(Protocol):
    """The part of `huggingface.tokenizer.Tokenizer` that completions need."""

    end_ids: tuple[int, ...]

    def encode_prompt(self, prompt: str, system: str = "") -> np.ndarray:
        """`[P]` int32."""

    def decode(self, ids: np.ndarray) -> str:
        """The text that verifiers see."""


class ServedModel:
    """Implements `SampleSource`. Every answer is a request of its own, with the seed of its sample.

    Samples without an answer are gaps, counted by reason in `gaps` and said: a prompt that is too long for the server,
    an answer that a filter cut off, a server that is gone. They are missing from what `answers` yields, and another
    call may ask for them again. Requests time out also while the caller is away between two yields.

    Log-probabilities are the server's: vLLM's are of the distribution that was sampled from if it was started with
    `--logprobs-mode processed_logprobs`.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        chat: ChatConfig,
        tokenizer: PromptTokenizer | None,
        say: Callable[[str], None],
    ) -> None:
        """`server.url` is set. `chat` is `model.chat`, for the chat API; `tokenizer` is for the completions API.

        Raises ConfigError if the server cannot be reached or its model is unclear.
        """
        self._server, self._say = server, say
        self._system, self._max_tokens = chat.system, max_tokens
        self._tokenizer = tokenizer if server.api is ServerApi.completions else None
        assert self._tokenizer is not None or server.api is ServerApi.chat, "completions need the model's tokenizer"
        tokens = self._tokenizer
        self._wishes = chat_wishes(chat.arguments) if tokens is None else completion_wishes(tokens.end_ids)
        self._connection = Connection(server)
        self._is_gone = False
        self.gaps: Counter[str] = Counter()
        """Samples of the last call of `answers` that the server was asked for, or would have been, by what failed."""
        self.model = self._only_model() if server.model is None else server.model
        self._settings = {
            "model": self.model, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "n": 1
        }  # fmt: skip
        self.identity = printable(well_formed(self.model))
        self.name = f"{self._connection.url} {self.identity}"

    def answers(
        self, requests: Iterator[SampleRequest], is_stopping: Callable[[], bool]
    ) -> Generator[list[SampleAnswer]]:
        """Answers as they come; see `SampleSource`. Raises ConfigError or DataError, after the answers that are there,
        for a request that the server will never accept."""
        self._is_gone = False
        self.gaps.clear()
        loop = asyncio.new_event_loop()
        under_way: set[asyncio.Task[SampleAnswer | None]] = set()
        try:
            loop.run_until_complete(self._connection.open())
            while not is_stopping():
                room = 0 if self._is_gone else self._server.concurrency - len(under_way)
                under_way |= {loop.create_task(self._answer(each)) for each in itertools.islice(requests, room)}
                if not under_way:
                    break
                ended, under_way = loop.run_until_complete(_wait(under_way))
                yield [answer for each in ended if not each.exception() and (answer := each.result()) is not None]
                for task in ended:
                    task.result()  # raises what ended it
            if self._is_gone and not is_stopping() and (left := sum(1 for _ in requests)):
                self.gaps["not asked for, the server is gone"] = left
        finally:
            for task in under_way:
                task.cancel()
            loop.run_until_complete(_end(under_way, self._connection))
            loop.close()
            self._say_gaps()

    async def _answer(self, request: SampleRequest) -> SampleAnswer | None:
        """The answer to a request; None: a gap."""
        try:
            return await self._ask(request)
        except UnansweredError as error:
            self._gap(request, f"no usable answer after {counted(self._server.retries + 1, 'attempt')}", str(error))
            self._is_gone = self._is_gone or error.is_alone
        except RequestRefusedError as error:
            if not is_about_this_prompt(error):
                raise self._refusal(request, error) from None
            self._gap(request, "refused for this prompt", str(error))
        return None

    async def _ask(self, request: SampleRequest) -> SampleAnswer | None:
        problem = request.problem
        if self._tokenizer is None:
            path, prompt = "/chat/completions", chat_body(problem.prompt, problem.system or self._system)
        else:
            ids = self._tokenizer.encode_prompt(problem.prompt, problem.system)
            path, prompt = "/completions", {"prompt": ids.tolist()}
        body = self._settings | prompt | {"seed": request.seed}
        wishes = self._wishes
        try:
            found = await self._post(path, body | wishes)
        except RequestRefusedError as error:
            if not wishes or error.status not in (400, 422) or is_about_this_prompt(error):
                raise
            found = await self._post(path, body)
            if self._wishes:
                self._wishes = {}
                self._say(f"{self.name} gives no token ids or log-probabilities ({error}); it is asked for texts alone")
        if found.finish is None:
            self._gap(request, found.reason, "")
            return None
        text = found.text
        if self._tokenizer is not None and len(found.tokens):  # as verifiers see the answers of our engine
            text = well_formed(self._tokenizer.decode(found.tokens))
        return SampleAnswer(
            request=request,
            text=text,
            finish=found.finish,
            length=found.length,
            tokens=found.tokens,
            logprobs=found.logprobs,
        )

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        most = self._max_tokens
        return await self._connection.ask(
            path, body, lambda reply: read_answer(reply, max_tokens=most), largest=_BYTES + _TOKEN_BYTES * most
        )

    def _gap(self, request: SampleRequest, kind: str, reason: str) -> None:
        if kind not in self.gaps:  # the first of a kind; the others are counted
            about = f"sample {request.sample} of {printable(request.problem.key)}"
            self._say(f"{about} has no answer: {self._connection.shown(kind)}{reason and f' ({reason})'}")
        self.gaps[kind] += 1

    def _say_gaps(self) -> None:
        if total := self.gaps.total():
            kinds = "; ".join(f"{number} {self._connection.shown(kind)}" for kind, number in self.gaps.most_common(5))
            self._say(
                f"{counted(total, 'sample')} without an answer from {self.name}: {kinds}. Start again to ask again"
            )

    def _refusal(self, request: SampleRequest, error: RequestRefusedError) -> ConfigError | DataError:
        if error.status in (401, 403):
            hint = _KEY_HINT if self._server.key_env is None else f"look at the key in {self._server.key_env}"
            return ConfigError(f"evaluation.server.url={self._connection.url}: {error}; {hint}")
        if error.status in (400, 413, 422):
            key = printable(request.problem.key)
            return DataError(f"{self.name} refuses sample {request.sample} of {key}: {error}")
        return ConfigError(
            f"evaluation.server.url={self._connection.url}: {error}; are the address, "
            f"evaluation.server.model={printable(self.model)} and evaluation.server.api={self._server.api.name} right?"
        )

    def _only_model(self) -> str:
        """The name of the server's only model."""

        async def look() -> list[str]:
            await self._connection.open()
            try:
                return await self._connection.ask("/models", None, read_models, largest=_BYTES)
            finally:
                await self._connection.close()

        try:
            names = asyncio.run(look())
        except UnansweredError as error:
            raise ConfigError(f"evaluation.server.url={self._connection.url}: no server answers ({error})") from None
        except RequestRefusedError as error:
            hint = _KEY_HINT if error.status in (401, 403) else "name the model in evaluation.server.model"
            raise ConfigError(f"evaluation.server.url={self._connection.url}/models: {error}; {hint}") from None
        if len(names) != 1:
            shown = self._connection.shown(", ".join(names)) or "no model"
            raise ConfigError(f"evaluation.server.model is not set, and {self._connection.url} has {shown}; name one")
        return names[0]


def is_about_this_prompt(error: RequestRefusedError) -> bool:
    """Whether a server refuses a request for its length or its content, where it takes others."""
    text = f"{error.code} {error}".lower()
    is_too_long = any(
        words in text
        for words in ("context length", "context_length", "context window", "context size", "max_model_len")
    )
    is_too_long |= "maximum" in text and "length" in text
    return error.status in (400, 413, 422) and (is_too_long or "content_filter" in text or "content_policy" in text)


async def _wait(tasks: set[asyncio.Task[Any]]) -> tuple[set[asyncio.Task[Any]], set[asyncio.Task[Any]]]:
    return await asyncio.wait(tasks, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)


async def _end(tasks: set[asyncio.Task[Any]], connection: Connection) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
    await connection.close()
