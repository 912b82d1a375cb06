"""A program that speaks a server's routes without an engine, and that can hang, die and lie. Run it as a file.

It takes the settings of `rollout.server` on stdin and answers with its port on stdout. With `"receives": true` it
receives weights for real, which takes torch; without, it believes what it is told.
What it samples is a function of prompt, seed and weights, so that a test can tell what was sampled from what.
`POST /fake` changes its behaviour: `{"status": "hang", "generate": "die", "/pause": "refuse", "seconds": 0.5}`, and
`{"loses": 1}` lets it forget a bucket of weights and say that all is well.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import threading
from typing import Any

import xxhash
from aiohttp import web

ENDS = (2, 5)
VOCABULARY = 250


def sampled(prompt: list[int], seed: int, version: int, length: int) -> list[int]:
    """The tokens that a fake with these weights samples; none of them ends a sample."""
    digest = hashlib.sha256(json.dumps([prompt, seed, version]).encode()).digest()
    return [10 + each % 200 for each in (digest * (length // 32 + 1))[:length]]


class FakeEngine:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.behaviour: dict[str, Any] = dict(settings.get("behaviour", {}))
        self.verified: int | None = None
        self.state = "random"
        self.paused = asyncio.Event()
        self.paused.set()  # set: not paused
        self.paused_once = False
        self.asked = 0  # samples
        self.calls: list[str] = []
        self._receiver: Any = None
        self._digest: Any = None
        self._tensors = 0
        self._next_version = -1

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if request.headers.get("Authorization") != f"Bearer {self.settings['token']}":
            return web.json_response({"error": "no token"}, status=401)
        if path == "/fake":
            self.behaviour |= await request.json()
            return web.json_response({"asked": self.asked, "calls": self.calls})
        if path == "/health":
            return web.json_response({})
        if path == "/prorl/status":
            return await self.status()
        if path == "/inference/v1/generate":
            return await self.generate(await request.json())
        self.calls.append(path)
        if reason := self.refusal(path):
            return web.json_response({"error": reason}, status=409)
        wanted = self.behaviour.get(path)
        if wanted == "hang":
            await asyncio.sleep(3600)
        if wanted == "refuse":
            return web.json_response({"error": {"message": "it does not want to"}}, status=500)
        answer = getattr(self, path.rpartition("/")[2])
        try:
            return web.json_response(await answer(await request.json()))
        except Exception as error:
            return web.json_response({"error": {"message": str(error)}}, status=500)

    def refusal(self, path: str) -> str:
        """Why a call comes too early, as the guard of a real server has it; empty if it does not."""
        if path == "/start_weight_update" and not self.paused_once:
            return "pause comes before start_weight_update"
        if path in ("/update_weights", "/finish_weight_update") and self.state != "updating":
            return f"start_weight_update comes before {path[1:]}"
        if path == "/prorl/verify" and self.state != "finished":
            return "finish_weight_update comes before verify"
        if path == "/resume" and self.state != "verified":
            return "verify and reset_prefix_cache come before resume"
        return ""

    async def status(self) -> web.StreamResponse:
        if self.behaviour.get("status") == "hang":
            await asyncio.sleep(3600)
        version = None if self.verified is None else str(self.verified)
        return web.json_response({"state": self.state, "version": version, "core_version": str(version)})

    async def generate(self, body: dict[str, Any]) -> web.StreamResponse:
        self.asked += 1
        if self.verified is None:
            return web.json_response({"error": "the weights are random: a push has to be verified before"}, status=409)
        started = self.verified
        await asyncio.sleep(self.behaviour.get("seconds", 0.0))
        await self.paused.wait()
        params = body["sampling_params"]
        length = params["max_tokens"]
        half = length // 2 if self.verified != started else length
        tokens = sampled(body["token_ids"], params["seed"], started, length)
        spans = [{"version": str(started), "start": 0, "end": half}]
        if half < length:
            spans.append({"version": str(self.verified), "start": half, "end": length})
        content = [{"token_id": token, "logprob": -1.5} for token in tokens]
        choice: dict[str, Any] = {
            "index": 0, "finish_reason": "length", "token_ids": tokens, "weight_versions": spans,
            "logprobs": {"content": content},
        }  # fmt: skip
        match self.behaviour.get("generate"):
            case "hang":
                await asyncio.sleep(3600)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "garbage":
                return web.Response(body=b"{" * 100)
            case "huge":
                return web.Response(body=b" " * (1 << 16))
            case "truncated":
                return web.Response(body=json.dumps({"choices": [choice]}).encode()[:-40])
            case "twice":
                return web.json_response({"choices": [choice, choice]})
            case "not finite":
                content[-1]["logprob"] = -9999.0  # vLLM's way to write NaN and minus infinity
            case dict(changes):
                choice |= changes
        return web.json_response({"choices": [choice]})

    async def init_weight_transfer_engine(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.behaviour.get("receives"):
            return {}
        from prorl_mega.transfer.receiver import open_receiver

        info = body["init_info"]
        self._receiver = await asyncio.to_thread(open_receiver, info["transport"], info["place"], rank=0)
        return {}

    async def pause(self, body: dict[str, Any]) -> dict[str, Any]:
        self.paused.clear()
        self.paused_once = True
        return {}

    async def start_weight_update(self, body: dict[str, Any]) -> dict[str, Any]:
        self._digest, self._tensors, self.state = xxhash.xxh3_128(), 0, "updating"
        return {}

    async def update_weights(self, body: dict[str, Any]) -> dict[str, Any]:
        info = body["update_info"]
        await asyncio.sleep(self.behaviour.get("update_seconds", 0.0))
        if info["index"] == self.behaviour.get("loses"):
            return {}
        for name, *_, digest in info["tensors"]:
            self._digest.update(f"{name}\0{digest}\0".encode())
            self._tensors += 1
        if self._receiver is not None:
            from prorl_mega.transfer.bucket import BucketManifest

            manifest = BucketManifest.parsed(info["index"], info["tensors"])
            await asyncio.to_thread(lambda: list(self._receiver.receive(info["place"], manifest)))
        return {}

    async def finish_weight_update(self, body: dict[str, Any]) -> dict[str, Any]:
        self.state, self._next_version = "finished", int(body["weight_version"])
        return {}

    async def verify(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body == {
            "version": str(self._next_version), "digest": self._digest.hexdigest(), "tensors": self._tensors
        }, "workers hold something else"  # fmt: skip
        self.state, self.verified = "verified", self._next_version
        return {}

    async def reset_prefix_cache(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"success": self.behaviour.get("reset", True)}

    async def resume(self, body: dict[str, Any]) -> dict[str, Any]:
        self.paused.set()
        return {}


async def serve(settings: dict[str, Any]) -> None:
    engine = FakeEngine(settings)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, settings["address"], 0)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"port": port, "pid": os.getpid()}), flush=True)
    await asyncio.sleep(3600)


def end_with_parent(stdin: Any) -> None:
    stdin.read()
    os._exit(0)


if __name__ == "__main__":
    stdin = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 (a thread reads it to the end)
    found = json.loads(stdin.readline())
    if found.get("behaviour", {}).get("start") == "fail":
        print("it cannot find its weights", file=sys.stderr)
        sys.exit(3)
    threading.Thread(target=end_with_parent, args=(stdin,), daemon=True).start()
    asyncio.run(serve(found))
