"""Programs that try to get out, to get the answer without working for it, or to break what judges them.

They are in `tests/tasks/hostile`, one file per kind of attack, each program below a line "##### name".

Scripts are told everything about their surroundings that an attacker could wish for: standard input is JSON with the
path of a secret file, ports and names of servers that listen, the process ids of the host (`prelude.txt` reads it). A
script that manages something forbidden prints ESCAPED; one that finds the secret prints it, and the secret is the
expected output of its test. The others define a function `f` that is called or asserted about, or are C++.
"""

import re
from pathlib import Path

_DIRECTORY = Path(__file__).parents[1] / "tasks" / "hostile"


def _programs(kind: str) -> dict[str, str]:
    _, *parts = re.split(r"^##### (\w+)\n", (_DIRECTORY / f"{kind}.txt").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


PRELUDE = _programs("prelude")["prelude"]
SCRIPTS = {
    name: source
    for kind in ("resources", "looks_around", "reaches_out", "leaves_traces", "cheats")
    for name, source in _programs(kind).items()
}
FUNCTIONS = _programs("functions")
NATIVE = _programs("native")

# Programs of one limit each: they reach for an address of a socket, fill memory of the kernel, or try to live longer.
BUFFERS_PRELUDE = PRELUDE + _programs("prelude")["buffers"]
ADDRESSES, BUFFERS, CLOCK = (_programs(kind) for kind in ("addresses", "buffers", "clock"))
NATIVE_CLOCK = _programs("native_clock")
