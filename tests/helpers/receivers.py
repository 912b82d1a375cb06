"""A process that receives weights by a transport, and the transport that sends them to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from prorl_mega.transfer.bucket import gather_buckets
from prorl_mega.transfer.transport import Transport, open_transport

LIMIT = 1 << 20

RECEIVING = """
import json, sys
from prorl_mega.transfer.bucket import BucketManifest, fingerprint
from prorl_mega.transfer.receiver import open_receiver
kind, place = json.loads(sys.stdin.readline())
receiver = open_receiver(kind, place, rank=0)
held = []
for line in sys.stdin:
    index, place, tensors = json.loads(line)
    try:
        manifest = BucketManifest.parsed(index, tensors)
        held += [(entry.name, tensor) for entry, tensor in receiver.receive(place, manifest)]
        print(json.dumps("taken"), flush=True)
    except Exception as error:
        print(json.dumps(str(error)), flush=True)
print(json.dumps({name: fingerprint(name, tensor) for name, tensor in held}), flush=True)
"""


def opened(kind: str, directory: Path) -> Transport:
    return open_transport(kind, address="127.0.0.1", directory=directory / "weights", timeout_s=60.0)


class Other:
    """A process that receives."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.process = subprocess.Popen(
            [sys.executable, "-c", RECEIVING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.write([transport.kind, transport.greeting("other", address="127.0.0.1", workers=1)])
        transport.meet("other")

    def write(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def send(self, weights: dict[str, Tensor], version: int, *, spoil: bool = False) -> list[Any]:
        """Push `weights`; what it says of each bucket. `spoil`: one bit of the second bucket is changed on its way."""
        answers = []
        for bucket in gather_buckets(iter(weights.items()), self.transport.memory, limit=LIMIT):
            if spoil and bucket.manifest.index == 1:
                bucket.memory[bucket.manifest.entries[1].offset] ^= 1
            place = self.transport.place(bucket, version)
            self.write([bucket.manifest.index, place, bucket.manifest.plain()])
            self.transport.deliver(bucket, "other")
            answers.append(self.read())
        self.transport.finish(version)
        return answers

    def end(self) -> dict[str, str]:
        assert self.process.stdin is not None
        self.process.stdin.close()
        found = self.read()
        self.process.wait(60)
        self.transport.leave("other")
        self.transport.close()
        return found
