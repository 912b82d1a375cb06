"""The time that an engine takes for answers of very different lengths: a simulation of its events.

Between two ends of answers the batch stays the same and its context grows by a token per sequence and pass, so the time
until the next end is a sum with a closed form. An answer that ends gives its place to the next one in the queue.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist

from prorl_mega.planning.gpu import TYPICAL, Efficiency, Gpu
from prorl_mega.planning.shape import ModelShape


@dataclass(kw_only=True, slots=True, frozen=True)
class Engine:
    """One engine of `tensor` GPUs with `places` for sequences."""

    shape: ModelShape
    gpu: Gpu
    tensor: int
    places: int
    efficiency: Efficiency = TYPICAL

    def fixed_s(self, batch: int) -> float:
        """Seconds of a forward pass of one token of each of `batch` sequences, without reading their cache."""
        rates, gpu, shape = self.efficiency, self.gpu, self.shape
        reading = shape.read_bytes(batch) / (self.tensor * gpu.bandwidth * rates.decode_bandwidth)
        computing = 2.0 * shape.active * batch / (self.tensor * gpu.flops * rates.prefill)
        exchanging = 0.0
        if self.tensor > 1:
            exchanging = 2 * shape.layers * (rates.all_reduce_s + 2 * 2 * batch * shape.hidden / gpu.link)
        return max(reading, computing) + exchanging + rates.decode_step_s

    @property
    def token_s(self) -> float:
        """Seconds to read the cache of one token of context."""
        return self.shape.kv_bytes / (self.tensor * self.gpu.bandwidth * self.efficiency.decode_bandwidth)

    def prefill_s(self, tokens: float) -> float:
        flops = self.shape.forward_flops(tokens, tokens / 2)
        return flops / (self.tensor * self.gpu.flops * self.efficiency.prefill)

    def ends_s(self, lengths: list[int], prompt: int) -> list[float]:
        """When each answer ends, in order, if all are there at the beginning and have prompts of `prompt` tokens."""
        waiting = list(reversed(lengths))
        running: list[tuple[int, int]] = []  # the pass in which it ends, its length
        now, passes, context, found = 0.0, 0, 0.0, []
        while waiting or running:
            while waiting and len(running) < self.places:
                length = waiting.pop()
                now += self.prefill_s(prompt)
                context += prompt
                heapq.heappush(running, (passes + length, length))
            batch = len(running)
            steps = running[0][0] - passes
            grown = batch * steps * (steps - 1) / 2
            now += steps * (self.fixed_s(batch) + self.token_s * context) + self.token_s * grown
            context += batch * steps
            passes += steps
            while running and running[0][0] == passes:
                _, length = heapq.heappop(running)
                context -= prompt + length
                found.append(now)
        return found


def log_normal_lengths(count: int, *, mean: float, longest: int, sigma: float = 0.7) -> list[int]:
    """`count` lengths of a log-normal distribution that is cut at `longest`, with this mean behind the cut: quantiles,
    in a scattered order, so that the same work is planned every time."""
    golden = (sqrt(5) - 1) / 2
    shares = [min(max(((index + 0.5) * golden) % 1.0, 1e-6), 1 - 1e-6) for index in range(count)]
    quantiles = [NormalDist(0.0, sigma).inv_cdf(share) for share in shares]

    def cut(middle: float) -> list[int]:
        return [max(1, min(longest, round(exp(middle + each)))) for each in quantiles]

    low, high = 0.0, log(longest) + 6 * sigma
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(cut(middle)) < mean * count else (low, middle)
    return cut(high)
