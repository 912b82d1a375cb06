"""A model behind a server, with a tokenizer of characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prorl_mega.config.schema import ChatConfig, ServerConfig
from prorl_mega.sample_requests import SampleAnswer, SampleRequest
from prorl_mega.served.model import ServedModel


class Characters:
    """A tokenizer whose ids are code points."""

    end_ids = (2, 5)

    def encode_prompt(self, prompt: str, system: str = "") -> np.ndarray:
        return np.array([ord(each) for each in system + prompt], dtype=np.int32)

    def decode(self, ids: np.ndarray) -> str:
        return "".join(chr(each) for each in ids)


class Heard:
    """What a model behind a server says, and its answers by (problem, sample)."""

    def __init__(self, server: ServerConfig, **changes: Any) -> None:
        self.said: list[str] = []
        settings: dict[str, Any] = {
            "temperature": 0.6, "top_p": 0.95, "max_tokens": 50, "chat": ChatConfig(),
            "tokenizer": Characters(), "say": self.said.append,
        }  # fmt: skip
        self.model = ServedModel(server, **(settings | changes))
        self.answers: dict[tuple[int, int], SampleAnswer] = {}

    def ask(self, requests: Sequence[SampleRequest]) -> dict[tuple[int, int], SampleAnswer]:
        for answers in self.model.answers(iter(requests), lambda: False):
            for each in answers:
                assert (each.request.index, each.request.sample) not in self.answers, "answered twice"
                self.answers[each.request.index, each.request.sample] = each
        return self.answers

    @property
    def text(self) -> str:
        return "\n".join(self.said)
