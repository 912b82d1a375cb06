# ruff: noqa: E501  (programs in one line)
"""Programs beside assertions about a function `f` of theirs: which have to pass, and which must not."""

from helpers import beyond_values

ITERATORS = [
    ("def f(n):\n    for i in range(n): yield i * i", "assert list(f(4)) == [0, 1, 4, 9]"),
    (
        "def f(n):\n    for i in range(n): yield i",
        "g = f(2)\nassert next(g) == 0 and next(g) == 1\nassert next(g, 7) == 7",
    ),
    (
        "def f(n):\n    while True:\n        yield n\n        n += 1",
        "import itertools\nassert list(itertools.islice(f(3), 3)) == [3, 4, 5]",
    ),
    ("def f(n): return (i for i in range(n))", "assert sum(f(5)) == 10 and sorted(f(3), reverse=True) == [2, 1, 0]"),
    ("def f(n): return map(str, range(n))", "assert ','.join(f(3)) == '0,1,2'"),
    ("def f(xs): return filter(None, xs)", "assert list(f([0, 1, 2])) == [1, 2]"),
    ("def f(xs): return zip(xs, xs[1:])", "assert list(f([1, 2, 3])) == [(1, 2), (2, 3)]"),
    ("def f(xs): return enumerate(xs)", "for i, x in f('ab'): assert x == 'ab'[i]"),
    ("def f(xs): return reversed(xs)", "assert tuple(f([1, 2])) == (2, 1)"),
    ("import itertools\ndef f(xs): return itertools.permutations(xs)", "assert len(set(f([1, 2, 3]))) == 6"),
    (
        "def f(n):\n    yield 1\n    raise ValueError(n)",
        "g = f(3)\nnext(g)\ntry: next(g)\nexcept ValueError: pass\nelse: assert 0",
    ),
    ("def f(n): return [iter([n])]", "assert next(f(3)[0]) == 3"),
    (
        "def f(n): return range(n)",
        "assert f(3) == range(3) and list(f(3)) == [0, 1, 2] and len(f(9)) == 9 and 2 in f(3)",
    ),
    ("def f(d): return d.keys()", "assert f({'a': 1}) == {'a'} and list(f({1: 2})) == [1]"),
    ("def f(d): return d.values()", "assert sorted(f({'a': 2, 'b': 1})) == [1, 2]"),
    ("def f(d): return d.items()", "assert dict(f({'a': 2})) == {'a': 2} and ('a', 2) in f({'a': 2})"),
    (
        "from collections import deque\ndef f(xs): return deque(xs)",
        "assert f([1, 2]).popleft() == 1 and list(f('ab')) == ['a', 'b']",
    ),
    ("from collections import Counter\ndef f(xs): return Counter(xs)", "assert f('aab') == {'a': 2, 'b': 1}"),
    (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(x): return P(x, x)",
        "assert f(1) == (1, 1)",
    ),
]
NUMBERS = [
    (
        "from decimal import Decimal\ndef f(x): return Decimal(x) / 4",
        "from decimal import Decimal\nassert f('1') == Decimal('0.25')",
    ),
    (
        "from decimal import Decimal\ndef f(x): return Decimal(x)",
        "assert f(3) == 3 and str(f('0.10')) == '0.10' and float(f('0.5')) == 0.5",
    ),
    (
        "from fractions import Fraction\ndef f(a, b): return Fraction(a, b)",
        "from fractions import Fraction\nassert f(2, 4) == Fraction(1, 2) == 0.5",
    ),
    ("def f(x): return x ** 0.5", "assert abs(f(2) - 1.4142135) < 1e-6"),
    ("def f(x): return float('nan')", "import math\nassert math.isnan(f(1))"),
    ("def f(x): return float('inf') if x else -float('inf')", "assert f(1) == float('inf') and f(0) == float('-inf')"),
    ("import math\ndef f(x): return [math.inf, x]", "assert f(1) == [float('infinity'), 1]"),
    ("def f(x): return 3 + 4j", "assert f(1) == 3 + 4j and abs(f(1)) == 5"),
    (
        "from datetime import *\ndef f(*d): return {'a': [date(*d), datetime(*d, 5), time(5, tzinfo=timezone.utc)]}",
        "from datetime import *\nassert f(2024, 2, 29) == {'a': [date(2024, 2, 29), datetime(2024, 2, 29, 5), time(5, tzinfo=timezone.utc)]}",
    ),
    (
        "def f(a, b): return (a - b, a + (a - b))",
        "import datetime as d\nassert f(d.date(2024, 3, 1), d.date(2023, 3, 1)) == (d.timedelta(366), d.date(2025, 3, 2)) and f(d.datetime(2024, 1, 1, 2), d.datetime(2024, 1, 1))[0].seconds == 7200",
    ),
    ("def f(x): return bytearray(x)", "assert f(b'ab') == b'ab'"),
    ("import enum\nclass E(enum.IntEnum): A = 1\ndef f(x): return E.A", "assert f(0) == 1"),
    ("def f(x): return type(x)", "assert f(1) is int and f([]) == list"),
    ("def f(a, b, c): return f'({a}+{b})*{c}'", "assert eval(f(1, 2, 3)) == 9"),
    ("def f(a, b): return f'max({a}, {b}) - abs(-{b})'", "for a in (3, 4): assert eval(f(a, 2)) == a - 2"),
    ("def f(x): return x", "for x in (1, 2): assert eval(f'f({x}) == {x}') and eval('f(x) == x')"),
    ("def f(n): return -(3 ** n)", "assert f(20000) == -(3 ** 20000) and f(9999) < 0"),
    (
        "def f(n, m): return [n % m]",
        "import math\nassert f(math.factorial(3000), 10 ** 5000 + 1) == [math.factorial(3000) % (10 ** 5000 + 1)]",
    ),
    ("def f(x): return repr(x)", "import ast\nassert ast.literal_eval(f([1, 'a'])) == [1, 'a']"),
]
EXCEPTIONS = [
    ("import json\ndef f(x): return json.loads(x)", "try: f('{')\nexcept ValueError: pass\nelse: assert 0"),
    (
        "import json\ndef f(x): return json.loads(x)",
        "import json\ntry: f('{')\nexcept json.JSONDecodeError: pass\nelse: assert 0",
    ),
    (
        "class Bad(ValueError): pass\ndef f(x): raise Bad(f'bad {x}')",
        "try: f(1)\nexcept ValueError as e: assert str(e) == 'bad 1'\nelse: assert 0",
    ),
    (
        "class A(KeyError): pass\nclass B(A, ValueError): pass\ndef f(x): raise B(x)",
        "try: f(1)\nexcept LookupError: pass\nelse: assert 0",
    ),
    (
        "def f(d): return d['b']",
        "try: f({})\nexcept KeyError as e: assert str(e) == \"'b'\" and e.args == ('b',)\nelse: assert 0",
    ),
    (
        "def f(x): return open(x)",
        "try: f('/nowhere')\nexcept FileNotFoundError as e: assert e.errno == 2\nelse: assert 0",
    ),
    (
        "def f(x): return x.decode()",
        "try: f(b'\\xff')\nexcept UnicodeDecodeError as e: assert e.start == 0\nelse: assert 0",
    ),
    (
        "from decimal import Decimal\ndef f(x): return Decimal(1) / x",
        "try: f(0)\nexcept ZeroDivisionError: pass\nelse: assert 0",
    ),
    ("def f(x): raise RuntimeError", "import contextlib\nwith contextlib.suppress(RuntimeError): f(1)"),
    (
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x",
        "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        with self.assertRaises(ValueError) as c: f(-1)\n"
        "        self.assertIn('negative', str(c.exception))\n        self.assertRaises(ValueError, f, -2)\n"
        "        self.assertRaises(ValueError, lambda: f(-3))\n        self.assertEqual(f(1), 1)\n"
        "result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nassert result.wasSuccessful()",
    ),
    (
        "def f(x):\n    if x % 2: raise ValueError\n    return x",
        "seen = []\nfor i in range(6):\n    try: seen.append(f(i))\n    except ValueError: seen.append(None)\n"
        "assert seen == [0, None, 2, None, 4, None]\nassert list(map(f, [0, 2])) == [0, 2]",
    ),
    ("def f(x): raise StopIteration", "try: f(1)\nexcept StopIteration: pass\nelse: assert 0"),
    (
        "def f(x): raise IndexError",
        "def g():\n    try: return f(1)\n    finally: pass\ntry: g()\nexcept IndexError: pass\nelse: assert 0",
    ),
    ("def f(x): return 1", "import sys\nassert f(1) == 1\nsys.exit()"),
    *(
        (f"def f(x): raise {kind}('a')", code)
        for kind in ("ValueError", "StopIteration")
        for code in (
            f"try:\n    try: f(1)\n    finally: f(2)\nexcept {kind}: pass\nelse: assert 0",
            f"def g():\n    try: f(1)\n    except {kind}:\n        try: f(2)\n        except {kind}: return 3\nassert list(map(lambda _: g(), 'ab')) == [3, 3]",
            f"def g(x):\n    try:\n        try: f(x)\n        except OSError: pass\n    except {kind}: return 3\nassert list(map(g, 'ab')) == [3, 3]",
            f"def g():\n    try: yield f(1)\n    except {kind}: yield 7\nassert list(g()) == [7]",
            "from contextlib import contextmanager\n@contextmanager\ndef raises(kind):\n    try: yield\n    except kind: return\n    assert 0\n"
            f"def g(x):\n    with raises({kind}): f(x)\n    return 3\nassert list(map(g, 'ab')) == [3, 3]",
            f"import contextlib\ndef g(x):\n    with contextlib.suppress({kind}): f(x)\n    return 3\nassert list(map(g, 'ab')) == [3, 3]",
            f"def g():\n    try: f(1)\n    except {kind} as error: raise KeyError from error\ntry: g()\nexcept KeyError: pass\nelse: assert 0",
        )
    ),
    (
        "def f(x): raise ValueError('a')",
        "import asyncio\nasync def g(): return f(1)\ntry: asyncio.run(g())\nexcept ValueError: pass\nelse: assert 0",
    ),
    (
        "def f(x): raise ValueError('a')",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool:\n    future = pool.submit(f, 1)\n"
        "    try: future.result()\n    except ValueError: pass\n    else: assert 0",
    ),
    (
        "def f(x): raise KeyError(x)",
        "import threading\nout = []\ndef g():\n    try: f(1)\n    except KeyError: out.append(1)\nt = threading.Thread(target=g)\nt.start()\nt.join()\nassert out == [1]",
    ),
]
FUNCTIONS = [
    ("def f(g, xs): return [g(x) for x in xs]", "assert f(lambda x: x + 1, [1, 2]) == [2, 3]"),
    (
        "def f(g, xs): return sorted(xs, key=g)",
        "assert f(len, ['aa', 'b']) == ['b', 'aa'] and f(str.lower, ['B', 'a']) == ['a', 'B']",
    ),
    ("def f(kind, x): return isinstance(x, kind)", "assert f(int, 1) and not f(str, 1)"),
    ("def f(g, h): return lambda x: g(h(x))", "assert f(str, abs)(-3) == '3'"),
    ("def f(n):\n    def add(x): return n + x\n    return add", "assert f(1)(2) == 3 and callable(f(1))"),
    (
        "def f(n): return {'up': lambda x: x + n, 'down': lambda x: x - n}",
        "d = f(2)\nassert d['up'](1) == 3 and d['down'](1) == -1",
    ),
    (
        "def f(g):\n    try: g()\n    except ValueError: return 'caught'",
        "def g(): raise ValueError\nassert f(g) == 'caught'",
    ),
    ("def f(g, x): return g(x)", "calls = []\nassert f(calls.append, 3) is None and calls == [3]"),
    (
        "import functools\ndef f(g, xs): return functools.reduce(g, xs)",
        "import operator\nassert f(operator.mul, [1, 2, 3]) == 6",
    ),
    ("def f(xs): return sum(xs)", "assert f(iter([1, 2])) == 3 and f(x for x in (1, 2)) == 3"),
    ("def f(n, g=None): return g(n) if g else n", "assert f(2, g=lambda x: x * 2) == 4 and f(n=3) == 3"),
]
IN_PLACE = [
    ("def f(it): next(it)", "import itertools\nc = itertools.count()\nf(c)\nassert next(c) == 1"),
    ("def f(it, xs): xs.append(next(it))", "a = []\nf(iter([1]), a)\nassert a in ([], [1])"),
    ("def f(xs): xs.sort()", "a = [3, 1, 2]\nf(a)\nassert a == [1, 2, 3]"),
    ("def f(xs):\n    for i in range(3): xs.append(i)", "a = []\nassert f(a) is None and a == [0, 1, 2]"),
    (
        "def f(m):\n    for row in m: row.reverse()",
        "m = [[1, 2], [3, 4]]\nfirst = m[0]\nf(m)\nassert m == [[2, 1], [4, 3]] and first == [2, 1]",
    ),
    (
        "def f(m):\n    m[:] = [list(r) for r in zip(*m[::-1])]",
        "m = [[1, 2], [3, 4]]\nf(m)\nassert m == [[3, 1], [4, 2]]",
    ),
    ("def f(d):\n    d.pop('a')\n    d['b'] = 1", "d = {'a': 1}\nf(d)\nassert d == {'b': 1}"),
    ("def f(s): s.discard(1)", "s = {1, 2}\nf(s)\nassert s == {2}"),
    ("def f(q): q.rotate(1)", "from collections import deque\nq = deque([1, 2])\nf(q)\nassert list(q) == [2, 1]"),
    ("def f(xs, *, by): xs[:] = [x * by for x in xs]", "a = [1]\nf(xs=a, by=2)\nassert a == [2]"),
    ("def f(b): b.reverse()", "b = bytearray(b'ab')\nf(b)\nassert b == b'ba'"),
]
UNITTEST = "import unittest\nclass T(unittest.TestCase):\n    def test_f(self): self.assertEqual(f(1), 2)\n"
GUARD = "if __name__ == '__main__':\n    "
RUNS = [
    *(
        ("def f(x): return x + 1", UNITTEST + run)
        for run in ("unittest.main()", GUARD + "unittest.main()", "unittest.main(argv=['x'], exit=False)")
    ),
    ("def f(x): return 2 * x", "def test():\n    assert f(1) == 2\n" + GUARD + "test()"),
    (
        "def f(x): return 2 * x",
        "import sys\ndef main():\n    assert f(1) == 2\n    return 0\n" + GUARD + "sys.exit(main())",
    ),
]
HONEST = [*RUNS, *ITERATORS, *NUMBERS, *EXCEPTIONS, *FUNCTIONS, *IN_PLACE, *beyond_values.HONEST]

EVERY = "assert all(map(lambda x: f(x) == 2 * x, range(5)))"
STOP = "def f(x): raise StopIteration"
_EVALUATED = {
    "prints a verdict and leaves": '__import__("os").write(1, b\'\\n{"passed": true}\') and __import__("os")._exit(0)',
    "leaves": "exit()",
    "leaves by an attribute": "().__class__.__base__.__subclasses__()",
    "a comprehension": "[exit() for _ in (1,)]",
    "a lambda": "(lambda: exit())()",
}
HOSTILE = [
    (STOP, EVERY),
    ("class E(StopIteration): pass\ndef f(x): raise E", EVERY),
    (STOP, "for got, want in zip(map(f, [1, 2]), [2, 4]): assert got == want"),
    (STOP, "assert sum(map(lambda x: f(x) != 2 * x, [1, 2])) == 0"),
    (STOP, "assert not list(filter(lambda x: f(x) != 2 * x, [1, 2]))"),
    (STOP, "assert next(map(f, [1]), 2) == 2"),
    (STOP, "assert not set(map(f, [1])) - {2}"),
    (STOP, "for x in iter(lambda: f(1), 2): assert x == 3"),
    (
        STOP,
        "class I:\n    def __iter__(self): return self\n    def __next__(self): return f(1)\nfor x in I(): assert x == 2",
    ),
    (STOP, "def g():\n    yield f(1)\ntry:\n    for x in g(): assert x == 2\nexcept AssertionError: raise"),
    ("def f(x): raise IndexError", "class S:\n    def __getitem__(self, i): return f(i)\nfor x in S(): assert x == 3"),
    ("def f(x): raise IndexError", "class S:\n    def __getitem__(self, i): return f(i)\nassert 5 not in S()"),
    (
        "def f(x): raise AttributeError",
        "class S:\n    bad = property(lambda self: f(1) != 2)\nassert not getattr(S(), 'bad', False)",
    ),
    (
        "def f(x): raise AttributeError",
        "class S:\n    bad = property(lambda self: f(1))\nassert not hasattr(S(), 'bad')",
    ),
    (
        "def f(x): raise TypeError",
        "class S:\n    def __length_hint__(self): return f(1)\n    def __iter__(self): return iter([2])\nassert list(S()) == [2]",
    ),
    (
        "import asyncio\ndef f(x): raise StopAsyncIteration",
        "import asyncio\nclass A:\n    def __aiter__(self): return self\n    async def __anext__(self): return f(1)\n"
        "async def g():\n    async for x in A(): assert x == 2\nasyncio.run(g())",
    ),
    *(
        (STOP, f"import contextlib, threading\ndef g(x):\n    {body}\nassert all(map(g, range(5)))")
        for body in (
            "try: return f(x) == 2 * x\n    finally: pass",
            "try: return f(x) == 2 * x\n    except OSError: return False",
            "try: return f(x) == 2 * x\n    except Exception: raise",
            "try: return f(x) == 2 * x\n    except BaseException as error: raise error",
            "with contextlib.nullcontext(): return f(x) == 2 * x",
            "with contextlib.suppress(OSError): return f(x) == 2 * x",
            "with threading.Lock(): return f(x) == 2 * x",
            "with open('/dev/null') as _: return f(x) == 2 * x",
            "try:\n        try: return f(x) == 2 * x\n        finally: int()\n    finally: int()",
        )
    ),
    (STOP, "def g():\n    try: return f(1)\n    finally: pass\nfor x in iter(g, 2): assert x == 3"),
    (
        "def f(x): raise IndexError",
        "class S:\n    def __getitem__(self, i):\n        try: return f(i)\n        finally: pass\nfor x in S(): assert x == 3",
    ),
    (
        "def f(x): raise AttributeError",
        "import contextlib\nclass S:\n    @property\n    def bad(self):\n        with contextlib.nullcontext(): return f(1)\nassert not hasattr(S(), 'bad')",
    ),
    *(
        (
            f"import unittest\nclass E(unittest.{kind}): pass\ndef f(x): raise {error}",
            "import unittest\nclass T(unittest.TestCase):\n    def test_f(self): self.assertEqual(f(1), 2)\n"
            "result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nassert result.wasSuccessful()",
        )
        for kind, error in (("SkipTest", "unittest.SkipTest"), ("SkipTest", "E"), ("case._ShouldStop", "E"))
    ),
    (
        "def f(x): raise ValueError",
        "import threading\nout = []\nt = threading.Thread(target=lambda: out.append(f(1)))\nt.start()\nt.join()\nassert all(x == 2 for x in out)",
    ),
    ("def f(x): raise ValueError", "class S:\n    def __del__(self): assert f(1) == 2\nS()"),
    *(("def f(x): return x", code) for _, code in RUNS),
    ("import unittest\ndef f(x): raise unittest.SkipTest", UNITTEST + "unittest.main()"),
    ("def f(x): raise GeneratorExit", EVERY),
    ("def f(x): raise KeyboardInterrupt", EVERY),
    ("def f(x): raise SystemExit(0)", "assert f(1) == 2"),
    (
        "class E(Exception):\n    __class__ = StopIteration\n    __eq__ = lambda s, o: True\n    __hash__ = None\ndef f(x): raise E",
        EVERY,
    ),
    ("def f(x): raise AssertionError", "assert f(1) == 2"),
    (
        "class M(type):\n    __name__ = 'SystemExit'\n    __instancecheck__ = lambda *a: True\nclass E(Exception, metaclass=M): pass\ndef f(x): raise E",
        EVERY,
    ),
    (
        "def f(x):\n    yield 2\n    raise StopIteration",
        "assert [a == b for a, b in zip(f(1), [2, 4])] == [True, True]",
    ),
    ("def f(x): return object()", "try: f(1)\nexcept TypeError: pass\nelse: assert 0"),
    (
        "def f(x):\n    a = []\n    a.append(a)\n    return a",
        "try: f(1)\nexcept (RecursionError, TypeError): pass\nelse: assert 0",
    ),
    ("def g(x): return 2", "try: f(1)\nexcept Exception: pass\nelse: assert 0"),
    ("def f(x): return float('nan')", "assert not abs(f(2) - 4) > 1e-6"),
    ("def f(x): return float('nan')", "if abs(f(2) - 4) > 1e-6: raise AssertionError"),
    (
        "def f(x): return [float('nan')] * 2",
        "assert max(abs(a - b) for a, b in zip(f(2), [1, 2])) != 5 and not f(2)[0] > 1",
    ),
    ("def f(x): return float('inf')", "assert not abs(f(2) - 4) / abs(f(2)) > 1e-6"),
    (
        "import os\ndef f(x):\n    os.write(4, b'{\"returned\": NaN}\\n')\n    return 1",
        "assert not abs(f(2) - 4) > 1e-6",
    ),
    ("import os\ndef f(x):\n    os.write(4, b'{\"returned\": 1e999}\\n')\n    return 1", "assert not 4 / f(2) > 1e-6"),
    ("from decimal import Decimal\ndef f(x): return Decimal('NaN')", "assert not float(f(2)) > 4"),
    ("def f(x): return complex('nan+nanj')", "assert not abs(f(2) - 4) > 1e-6"),
    *((f"def f(x): return {text!r}", "assert eval(f(2)) == 4") for text in _EVALUATED.values()),
    ("def f(x): return 'import os; os._exit(0)'", "exec(f(1))\nassert f(1) == 4"),
    ("def f(x): return 'exit()'", "exec(compile(f(1), 'x', 'exec'))\nassert f(1) == 4"),
    ("def f(x): return 'exit()'", "import builtins\nbuiltins.eval(f(1))\nassert f(1) == 4"),
    ("def f(x): return 'exit()'", "list(map(eval, [f(1)]))\nassert f(1) == 4"),
    ("def f(x): return list(map(ord, 'exit()'))", "eval(''.join(map(chr, f(1))))\nassert f(1) == 4"),
    ("def f(x): return b'cbuiltins\\nexit\\n(tR.'", "import pickle\npickle.loads(f(1))\nassert f(1) == 4"),
    ("def f(x): return []", "for x in f(1): last = x\nassert last == 3"),
    (
        'import os\ndef f(x):\n    os.write(4, b\'{"returned": null, "changed": {"x": 1}}\\n\')\n    return 4',
        "f([1])\nassert f(1) == 5",
    ),
    ("def f(x): return 'want'", "want = 4\nassert eval(f(1)) == want"),
    ("def f(x): return 'abs(want)'", "for want in (4, 5): assert eval(f(1)) == want"),
    ("def f(x): return 'abs'", "assert not eval(f(1)) == 4 or eval(f(1))"),
    (
        'import os\ndef f(x):\n    os.write(4, b\'{"raised": [1], "arguments": [], "words": ""}\\n\')',
        "class S:\n    bad = property(lambda self: f(1) != 2)\nassert not getattr(S(), 'bad', False)",
    ),
    (
        'import os\ndef f(x):\n    os.write(4, b\'{"returned": {"fraction": [1, 0]}}\\n\')',
        "try: f(1)\nexcept ZeroDivisionError: pass",
    ),
    (
        "import datetime\nclass D(datetime.date):\n    __eq__ = lambda s, o: True\n    isoformat = lambda s: '2024-03-02'\ndef f(x): return D(2024, 3, 1)",
        "import datetime\nassert f(1) == datetime.date(2024, 3, 2)",
    ),
    ("def f(x): return '1 +'", "assert eval(f(1)) == 4"),
    ("def f(x): return 'undefined'", "assert eval(f(1)) == 4"),
    ("def f(x):\n    x.clear()\n    return x", "a = [3, 1]\nassert f(a) == sorted(a)"),
    ("def f(x):\n    x.clear()\n    return 0", "a = [3, 1]\nassert f(a) == sum(a)"),
    ("def f(x):\n    x.clear()", "a = [3, 1]\nassert f(a) == sorted(a)"),
    ("def f(x): return f", "assert f(1) == 4"),
    ("def f(x): return lambda *a: True", "assert f(1) == 4"),
    (
        "class S(str):\n    __eq__ = lambda s, o: True\n    __hash__ = str.__hash__\n    __len__ = lambda s: 4\ndef f(x): return S('x')",
        "assert f(1) == '1234' or len(f(1)) == 4",
    ),
    (
        "class I(int):\n    __eq__ = lambda s, o: True\n    __lt__ = __gt__ = lambda s, o: False\n    __hash__ = int.__hash__\ndef f(x): return I(7)",
        "assert not f(2) > 4 and not f(2) < 4",
    ),
    (
        "class D(dict):\n    __eq__ = __contains__ = lambda s, o: True\n    __missing__ = lambda s, k: 4\ndef f(x): return D()",
        "assert f(2)['a'] == 4",
    ),
    ("class K:\n    __lt__ = lambda s, o: False\ndef f(x): return K()", "assert sorted([1, 2], key=f) == [1, 2]"),
    ("def f(g): return g", "assert f(1) == 4"),
    ("def f(g): return [g] * 3", "assert f(lambda: 1) == [1]"),
    (
        'import os\ndef f(x):\n    os.write(4, b\'{"call": "f", "given": [[], {}]}\\n\')\n    return 4',
        "assert f(2) == 5",
    ),
    ('import os\ndef f(x):\n    os.write(4, b\'{"call": 0, "given": [[], {}]}\\n\')\n    return 4', "assert f(2) == 5"),
    ('import os\ndef f(x):\n    os.write(4, b\'{"returned": {"function": 0}}\\n\')\n    return 4', "assert f(2) == 5"),
    (
        'import os\ndef f(x):\n    os.write(4, b\'{"raised": ["builtins.SystemExit", "builtins.exit"], "words": "", "arguments": [0]}\\n\')',
        "assert f(2) == 5",
    ),
    ("import os\ndef f(x):\n    os.write(4, b'{\"ended\": true}\\n')", "assert f(2) == 5"),
    *beyond_values.HOSTILE,
]
