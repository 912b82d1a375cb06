"""Correct programs of many styles: source, standard input, standard output. None may ever fail."""

HONEST: list[tuple[str, str, str]] = [
    ("a, b = map(int, input().split())\nprint(a + b)", "20 22\n", "42\n"),
    ("import sys\nprint(sum(int(x) for x in sys.stdin.read().split()))", "1 2 3\n4\n", "10\n"),
    ("import sys\ndata = sys.stdin.buffer.read().split()\nprint(data[-1].decode())", "x y z", "z\n"),
    ("for line in open(0): print(line.strip()[::-1])", "abc\ndef\n", "cba\nfed\n"),
    ("import os\nprint(os.read(0, 100).decode().upper(), end='')", "hello\n", "HELLO\n"),
    ("try:\n    while True: print(int(input()) * 2)\nexcept EOFError: pass", "1\n2\n", "2\n4\n"),
    ("def main():\n    print('ok')\n    exit()\n    print('no')\nif __name__ == '__main__': main()", "", "ok\n"),
    ("import sys\nprint('ok')\nsys.exit(0)", "", "ok\n"),
    ("import threading\nthreading.Thread(target=lambda: print(input())).start()", "late\n", "late\n"),
    (
        "import sys, threading\nsys.setrecursionlimit(10 ** 6)\nthreading.stack_size(1 << 27)\n"
        "def depth(n): return 0 if n == 0 else 1 + depth(n - 1)\n"
        "t = threading.Thread(target=lambda: print(depth(50000)))\nt.start()\nt.join()",
        "",
        "50000\n",
    ),
    (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(3))",
        "",
        "P(x=3)\n",
    ),
    (
        "from collections import Counter, deque\nfrom heapq import *\nprint(Counter(input()).most_common(1)[0][0])",
        "aab\n",
        "a\n",
    ),
    (
        "from decimal import Decimal, getcontext\ngetcontext().prec = 30\nprint(Decimal(2).sqrt())",
        "",
        "1.41421356237309504880168872421\n",
    ),
    ("from fractions import Fraction\nprint(Fraction(input()) + Fraction(1, 3))", "1/6\n", "1/2\n"),
    (
        "print(2 ** 1000 % 1000007, pow(3, 10 ** 18, 998244353))",
        "",
        f"{2**1000 % 1000007} {pow(3, 10**18, 998244353)}\n",
    ),
    ("print('grüße', chr(0x1F600), input())", "日本\n", "grüße \U0001f600 日本\n"),
    (
        "import asyncio\nasync def main():\n    await asyncio.sleep(0.01)\n    print('async')\nasyncio.run(main())",
        "",
        "async\n",
    ),
    (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool: print(sum(pool.map(int, '123')))",
        "",
        "6\n",
    ),
    (
        "import random, hashlib, re, string, bisect, functools, itertools, statistics, datetime, json, math\n"
        "print(hashlib.sha256(b'').hexdigest()[:8], json.dumps([1]), datetime.date(2020, 2, 29))",
        "",
        "e3b0c442 [1] 2020-02-29\n",
    ),
    (
        "print(''.join(sorted({'c', 'a', 'b'})))\nprint(*range(100000), sep='\\n')",
        "",
        "abc\n" + "\n".join(map(str, range(100000))) + "\n",
    ),
    (
        "n = 200000\nsieve = bytearray([1]) * n\nfor i in range(2, 448):\n    if sieve[i]:\n"
        "        for j in range(i * i, n, i): sieve[j] = 0\nprint(sum(sieve) - 2)",
        "",
        "17984\n",
    ),
    ("x = [0] * (10 ** 7)\nprint(len(x))", "", "10000000\n"),
    ("import sys\nsys.stderr.write('debug\\n')\nprint(1)", "", "1\n"),
    (
        "class A:\n    def __del__(self): pass\na = A()\nimport atexit\natexit.register(print, 'bye')\nprint('hi')",
        "",
        "hi\nbye\n",
    ),
    ("import time\nstart = time.time()\ntime.sleep(0.05)\nprint(time.time() - start < 60)", "", "True\n"),
]
