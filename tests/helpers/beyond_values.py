# ruff: noqa: E501  (programs in one line)
"""Conversations about what is no plain value: coroutines, futures, objects, and texts that are numbers.

Pairs of a program and its tests, as in `conversations.py`.
"""

from __future__ import annotations

ASYNC = "import asyncio\n"
COROUTINES = [
    ("async def f(x): return 2 * x", ASYNC + "assert asyncio.run(f(2)) == 4"),
    ("async def f(x): return 2 * x", ASYNC + "async def g():\n    assert await f(2) == 4\nasyncio.run(g())"),
    (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0.01)\n    return [x, (x,)]",
        ASYNC
        + "async def g(): return await asyncio.gather(f(1), f(2))\nassert asyncio.run(g()) == [[1, (1,)], [2, (2,)]]",
    ),
    (
        "import asyncio\nasync def h(x): return x + 1\nasync def f(x): return sum(await asyncio.gather(h(x), h(x)))",
        ASYNC + "async def g(): return await asyncio.wait_for(f(1), 2)\nassert asyncio.run(g()) == 4",
    ),
    (
        "async def f(x): raise ValueError(x)",
        ASYNC
        + "async def g():\n    c = f(1)\n    try: await c\n    except ValueError: return 5\nassert asyncio.run(g()) == 5",
    ),
    (
        "async def f(x): raise ValueError(x)",
        ASYNC + "try: asyncio.run(f(1))\nexcept ValueError: pass\nelse: assert 0",
    ),
    (
        "async def f(x): return x",
        ASYNC + "async def g():\n    t = asyncio.create_task(f(3))\n    return await t\nassert asyncio.run(g()) == 3",
    ),
    ("async def f(x): return None", ASYNC + "assert asyncio.run(f(3)) is None"),
    ("async def f(*xs): return dict(zip(xs, xs))", ASYNC + "assert asyncio.run(f(1, 2)) == {1: 1, 2: 2}"),
    ("def f(x): return x", ASYNC + "async def g(): return f(3)\nassert asyncio.run(g()) == 3"),
]
TEXTS = [
    ("def f(x): return '4.0'", "assert not abs(float(f(2)) - 4) > 1e-6"),
    ("def f(x): return 'nan'", "import math\nassert math.isnan(float(f(2)))"),
    ("def f(x): return '-inf'", "assert float(f(2)) == float('-inf')"),
    ("def f(x): return 'banana, finance, inform, 12e4'", "assert float(f(2)[-4:]) == 12e4"),
    ("def f(x): return '1e308'", "assert float(f(2)) > 1e300"),
    ("def f(x): return ['1.5', b'2.5']", "assert [float(x) for x in f(2)] == [1.5, 2.5]"),
    ("def f(x): return 'nan'", "assert f(1) == 'na' + 'n'"),
    ("def f(x): return ' '.join(map(str, x))", "assert list(map(float, f([1, 2]).split())) == [1.0, 2.0]"),
    ("def f(x): return 'a' * 10000", "assert len(f(1)) == int(float('1e4'))"),
    ("def f(x): return '1' * 300", "assert float(f(1)) > 1e298"),
]
POOL = "from concurrent.futures import ThreadPoolExecutor, as_completed, wait\n"
FUTURES = [
    (
        "import time\ndef f(x):\n    time.sleep(0.01)\n    return x",
        "import threading\nout = [None] * 9\ndef g(i): out[i] = f(i)\nts = [threading.Thread(target=g, args=(i,)) for i in range(9)]\n"
        "[t.start() for t in ts]\n[t.join() for t in ts]\nassert out == list(range(9))",
    ),
    (
        "def f(g, x): return g(x) + 1",
        POOL
        + "def h(x): return f(lambda y: y, x) if x else 0\nwith ThreadPoolExecutor(3) as p: assert list(p.map(lambda x: f(h, x), range(4))) == [1, 3, 4, 5]",
    ),
    (
        "def f(n):\n    for i in range(n): yield i",
        POOL + "with ThreadPoolExecutor(3) as p: assert list(p.map(lambda x: sum(f(x)), range(4))) == [0, 0, 1, 3]",
    ),
    (
        "def f(x): return 2 * x",
        POOL + "with ThreadPoolExecutor(4) as p: assert list(p.map(f, range(5))) == [0, 2, 4, 6, 8]",
    ),
    (
        "def f(x): return 2 * x",
        POOL
        + "with ThreadPoolExecutor(2) as p:\n    fs = [p.submit(f, i) for i in range(3)]\n    assert sum(x.result() for x in as_completed(fs)) == 6",
    ),
    (
        "def f(x): raise ValueError(x)",
        POOL + "with ThreadPoolExecutor(2) as p:\n    e = p.submit(f, 1).exception()\nassert isinstance(e, ValueError)",
    ),
    (
        "def f(x): raise ValueError(x)",
        POOL
        + "with ThreadPoolExecutor(2) as p:\n    t = p.submit(f, 1)\n    wait([t])\n    try: t.result(timeout=2)\n    except ValueError: pass\n    else: assert 0",
    ),
    (
        "def f(x): raise ValueError(x)",
        ASYNC
        + "import concurrent.futures\nasync def g():\n    try: await asyncio.get_running_loop().run_in_executor(None, f, 1)\n    except ValueError: return 5\nassert asyncio.run(g()) == 5",
    ),
]
STACK = (
    "class Stack:\n    def __init__(self, xs=()): self.items = list(xs)\n    def push(self, x):\n        self.items.append(x)\n        return self\n"
    "    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)\n    def __iter__(self): return iter(self.items)\n"
    "    def __getitem__(self, i): return self.items[i]\n    def __setitem__(self, i, x): self.items[i] = x\n    def __str__(self): return f'Stack{self.items}'\n"
    "    @property\n    def top(self): return self.items[-1]\n    def merge(self, other): return Stack(self.items + other.items)\ndef f(*xs): return Stack(xs)\n"
)
OBJECTS = [
    (STACK, "s = f()\ns.push(1)\ns.push(2)\nassert s.pop() == 2 and s.pop() == 1"),
    (STACK, "assert f().push(1).push(2).items == [1, 2]"),
    (
        STACK,
        "s = f(3, 4)\nassert len(s) == 2 and list(s) == [3, 4] and s[0] == 3 and str(s) == 'Stack[3, 4]' and s.top == 4",
    ),
    (STACK, "s = f(3)\ns[0] = 5\nassert s.items == [5] and f'{s}' == 'Stack[5]'"),
    (STACK, "s = f(3)\ns.items = [7]\nassert s.pop() == 7"),
    (STACK, "assert f(1).merge(f(2, 3)).items == [1, 2, 3]"),
    (STACK, "try: f().pop()\nexcept IndexError: pass\nelse: assert 0"),
    (STACK + "f = Stack\n", "s = f([1])\nassert s is not None and s.pop() == 1"),
    (STACK + "f = lambda n: [Stack([i]) for i in range(n)]\n", "assert [s.top for s in f(3)] == [0, 1, 2]"),
    (STACK + "f = lambda n: {'a': Stack([n])}\n", "assert f(2)['a'].top == 2"),
    (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int\ndef f(x): return P(x, 2 * x)",
        "p = f(2)\nassert (p.x, p.y) == (2, 4) and repr(p) == 'P(x=2, y=4)'",
    ),
    (
        "class Node:\n    def __init__(self, value, next): self.value, self.next = value, next\n"
        "def f(xs):\n    node = None\n    for x in reversed(xs): node = Node(x, node)\n    return node",
        "node, seen = f([1, 2, 3]), []\nwhile node is not None:\n    seen.append(node.value)\n    node = node.next\nassert seen == [1, 2, 3]",
    ),
    (
        "import enum\nclass C(enum.Enum): RED = 1\ndef f(x): return C.RED",
        "assert f(1).name == 'RED' and f(1).value == 1",
    ),
    (
        "class Counter:\n    def __init__(self): self.n = 0\n    def __iter__(self): return self\n    def __next__(self):\n        self.n += 1\n"
        "        if self.n > 3: raise StopIteration\n        return self.n\ndef f(x): return Counter()",
        "assert list(f(1)) == [1, 2, 3]",
    ),
]
HONEST = [*COROUTINES, *TEXTS, *FUTURES, *OBJECTS]

EVIL = (
    "def yes(*a): return True\nclass E:\n    __eq__ = __contains__ = __le__ = __ge__ = __bool__ = yes\n    __ne__ = __lt__ = __gt__ = lambda *a: False\n"
    "    __sub__ = __rsub__ = __abs__ = __mod__ = lambda *a: 0\n    __int__ = __index__ = lambda s: 3\n    __float__ = lambda s: float('nan')\n"
    "    __hash__ = lambda s: hash(4)\ndef f(x): return E()\n"
)
HOSTILE = [
    (
        "import sys\ndef f(g):\n    frame = sys._getframe()\n    while type(frame.f_locals.get('self')).__name__ != 'Peer': frame = frame.f_back\n"
        "    return frame.f_locals['self'].attribute(0, '__name__')",
        "def secret(): return 0\nassert f(secret) == 'secret'",
    ),
    *(
        (EVIL, f"assert {test}")
        for test in (
            "f(2) == 4",
            "4 == f(2)",
            "not f(2) != 4",
            "f(2)",
            "f(2) in [4]",
            "4 in f(2)",
            "[f(2)] == [4]",
            "f(2) <= 4 <= f(2)",
            "not f(2) < 4 and not f(2) > 4",
            "abs(f(2) - 4) < 1e-6",
            "not abs(4 - f(2)) > 1e-6",
            "f(2) % 2 == 0",
            "{f(2)} == {4}",
            "{4: 1}.get(f(2)) == 1",
            "int(f(2)) == 4",
            "range(9)[f(2)] == 4",
            "sorted([1, 2], key=f) == [1, 2]",
            "not float(f(2)) > 4",
            "isinstance(f(2), int)",
            "max([f(1), f(2)])",
            "all([f(2)])",
            "any([f(2)])",
            "bool(f(2))",
            "not not f(2)",
            "f(2) + 0 == 4",
            "round(f(2)) == 4",
            "f(2).missing == 4",
            "not hasattr(f(2), 'missing')",
            "f(2) != 5",
            "f(2) not in [5]",
            "[f(2)] != [5]",
            "len(f(2)) == 4",
            "(f(2), 1) == (4, 1)",
        )
    ),
    *(
        (
            f"import os, json\ndef f(g):\n    os.write(4, json.dumps({{'get': 0, 'name': '{name}'}}).encode() + b'\\n')\n    return 4",
            "want = 4\nassert f(lambda: want) == 5",
        )
        for name in ("__globals__", "__code__", "__closure__", "__class__")
    ),
    (
        'import os\ndef f(g):\n    os.write(4, b\'{"get": 0, "name": "__globals__"}\\n\')\n    return g()',
        "assert f(lambda: 4) == 4",
    ),
    *(
        (
            f'import os\ndef f(x):\n    os.write(4, b\'{{"returned": {{"object": {number}}}}}\\n\')\n    return 4',
            f"assert f(2){test}",
        )
        for number in ("0", "-1", "99", "null", '"a"', "[0]")
        for test in (".x == 5", "")
    ),
    (STACK, "assert f(1, 2).items == [1]"),
    (STACK, "assert f(1, 2).pop() == 1"),
    (STACK, "assert len(f(1, 2)) == 1"),
    (
        "class K:\n    def __getattr__(self, name): raise StopIteration\ndef f(x): return K()",
        "assert all(map(lambda x: f(x).v == 2, range(3)))",
    ),
    (
        "class K:\n    def __len__(self): raise TypeError\ndef f(x): return K()",
        "for x in [1]:\n    assert list(f(x)) == [3]",
    ),
    *(
        (f"def f(x): return {value}", f"assert not {test}")
        for value, test in (
            ("'nan'", "abs(float(f(2)) - 4) > 1e-6"),
            ("' -NaN '", "abs(float(f(2)) - 4) > 1e-6"),
            ("'1 nan'", "any(abs(float(x) - 4) > 1e-6 for x in f(2).split()[1:])"),
            ("['nan'] * 2", "any(abs(a - 4) > 1e-6 for a in map(float, f(2)))"),
            ("b'nan'", "abs(float(f(2)) - 4) > 1e-6"),
            ("list('nan')", "abs(float(''.join(f(2))) - 4) > 1e-6"),
            ("{'x': 'nan'}", "abs(float(f(2)['x']) - 4) > 1e-6"),
            ("'nan+nanj'", "abs(complex(f(2)) - 4) > 1e-6"),
            ("'1e999'", "abs(float(f(2)) - 4) / abs(float(f(2))) > 1e-6"),
            ("'Infinity'", "abs(float(f(2)) - 4) / abs(float(f(2))) > 1e-6"),
            ("'9' * 400", "abs(float(f(2)) - 4) / abs(float(f(2))) > 1e-6"),
        )
    ),
    (
        'import os\ndef f(x):\n    os.write(4, b\'{"returned": "\\\\u006ean"}\\n\')\n    return 1',
        "assert not abs(float(f(2)) - 4) > 1e-6",
    ),
    *(
        ("def f(x): raise ValueError(x)", POOL + f"with ThreadPoolExecutor(2) as p:\n    {body}")
        for body in (
            "p.submit(lambda: f(1) == 2)",
            "ts = [p.submit(f, i) for i in range(3)]\nassert len(ts) == 3",
            "wait([p.submit(f, i) for i in range(3)])",
            "t = p.submit(f, 1)\nassert t.done()",
            "p.map(f, range(3))",
            "for t in as_completed([p.submit(f, 1)]): assert t.done() and not t.cancelled()",
        )
    ),
    ("def f(x): return 7", POOL + "def g(): assert f(1) == 2\nwith ThreadPoolExecutor(2) as p: p.submit(g)"),
    *(
        ("async def f(x): return 7", code)
        for code in (
            "assert f(2)",
            "assert f(2) != 5",
            "assert not f(2) == 5",
            "assert f(2) is not None",
            ASYNC + "assert asyncio.run(f(2)) == 4",
            ASYNC + "assert f(2)",
            ASYNC + "assert f(2) != 5",
            ASYNC + "assert not f(2) == 5",
            ASYNC + "assert 5 not in [f(2)]",
            ASYNC + "assert len({f(2)} | {5}) > 2 or not f(2)",
        )
    ),
    ("async def f(x): raise StopIteration(4)", ASYNC + "assert asyncio.run(f(2)) == 4"),
    ("async def f(x): raise ValueError(4)", ASYNC + "assert asyncio.run(f(2)) == 4"),
    (
        'import os\ndef f(x):\n    os.write(4, b\'{"returned": 4, "awaited": true}\\n\')\n    return 5',
        ASYNC + "assert f(2) and not f(2) == 5",
    ),
    ("async def f(x):\n    import asyncio\n    await asyncio.sleep(60)", ASYNC + "assert asyncio.run(f(2)) is None"),
]
