"""Packages that a user names: programs may import them, and nothing else that is installed beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.sandboxes import sandbox_of, tier_here

from prorl_mega.config.schema import TaskConfig, TasksConfig
from prorl_mega.errors import ConfigError
from prorl_mega.sandbox.isolation import IsolationTier
from prorl_mega.sandbox.job import Ending, Limits, script
from prorl_mega.sandbox.packages import prove, provide
from prorl_mega.sandbox.pool import Sandbox
from prorl_mega.tasks import create
from prorl_mega.tasks.code import cases
from prorl_mega.verifiers.pool import VerifierPool

LIMITS = Limits(cpu_s=3.0, wall_s=6.0)
SCRIPTS = [
    ("import numpy as np\nprint(np.array(input().split(), int).sum())", "1 2\n", "3\n"),
    ("import numpy as np\nprint(np.loadtxt('/dev/stdin').T.tolist())", "1 2\n3 4\n", "[[1.0, 3.0], [2.0, 4.0]]\n"),
    (
        "import numpy as np\nprint(round(np.linalg.det(np.eye(3) * 2)), np.fft.fft([1, 2]).real.tolist())",
        "",
        "8 [3.0, -1.0]\n",
    ),
    ("import numpy.testing, numpy.polynomial, numpy.random\nprint(numpy.random.default_rng(0).integers(5))", "", "4\n"),
    ("import numpy as np\na = np.ones((300, 300))\nprint((a @ a)[0, 0])", "", "300.0\n"),
    ("try: import msgspec\nexcept ImportError: print('not named')", "", "not named\n"),
    ("import os\nprint('OMP_NUM_THREADS' in os.environ)", "", "False\n"),
]
ASSERTED = [
    ("def f(x): return np.array(x) * 2", "assert (f([1, 2]) == np.array([2, 4])).all() and f([1]).shape == (1,)"),
    ("def f(x): return x.T", "assert f(np.array([[1, 2]])).tolist() == [[1], [2]]"),
    ("def f(x): return np.float64(x) / 4", "assert f(1) == 0.25"),
    ("def f(x): return np.mean(x), np.argmax(x)", "mean, place = f([1, 3])\nassert mean == 2 and [5, 6][place] == 6"),
    ("def f(x): return np.allclose(x, 1)", "assert f([1.0]) and not f([2.0])"),
]
CALLS = [
    ("def f(x): return np.array(x) * 2", [[1, 2]], [2, 4]),
    ("def f(x): return np.sum(x)", [[1, 2]], 3),
    ("def f(x): return [np.bool_(1), np.int32(3), np.array(5), np.array([[1.5]])]", [1], [True, 3, 5, [[1.5]]]),
    ("def f(x): return {'a': np.float32(0.5), 'b': (np.int64(1),)}", [1], {"a": 0.5, "b": [1]}),
]


@pytest.fixture(scope="module", params=list(IsolationTier)[:2])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    spec = sandbox_of(request.param, size=1).spec
    with Sandbox(provide(spec, ["numpy"])) as sandbox:
        yield sandbox


def test_numpy_in_scripts(sandbox: Sandbox) -> None:
    results = sandbox.run([script(source, stdin, LIMITS) for source, stdin, _ in SCRIPTS])
    assert [(r.ending, r.stdout.decode()) for r in results] == [(Ending.FINISHED, output) for *_, output in SCRIPTS]


def test_numpy_in_functions_and_their_tests(sandbox: Sandbox) -> None:
    line = "import numpy as np\n"
    tests: list[tuple[dict[str, Any], str]] = [
        ({"function": "f", "code": line + code}, line + source) for source, code in ASSERTED
    ]
    tests += [
        ({"function": "f", "arguments": arguments, "expected": expected}, line + source)
        for source, arguments, expected in CALLS
    ]
    verdicts = [(source, cases.judge(test, source, sandbox, LIMITS, 1e-6)) for test, source in tests]
    assert not [each for each in verdicts if not each[1].passed]


def test_the_folders_of_packages_cannot_be_changed(sandbox: Sandbox) -> None:
    source = "import numpy\nopen(numpy.__path__[0] + '/x', 'w')"
    (result,) = sandbox.run([script(source, "", LIMITS)])
    assert result.ending is Ending.RUNTIME_ERROR
    assert "numpy/x" in result.detail


def test_a_package_that_is_not_there_is_named(sandbox: Sandbox) -> None:
    for name, words in (
        ("nowhere_to_be_found", "is not installed"),
        ("os.path", "not the name"),
        ("-c", "not the name"),
    ):
        with pytest.raises(ConfigError, match=f"packages: .*{name}.*{words}"):
            provide(sandbox.spec, [name])
    assert provide(sandbox.spec, ["json"]) is sandbox.spec


def test_a_package_that_lacks_another_says_so(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "__init__.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = sandbox_of(sandbox.spec.tier, size=1).spec
    with pytest.raises(ConfigError, match=r"packages lacking: cannot be imported in the sandbox .* named too"):
        prove(provide(spec, ["lacking"]), ["lacking"])


@pytest.mark.skipif(
    all(tier_here(tier)[0] is None for tier in list(IsolationTier)[:2]), reason="NOT RUN: no sandbox on this machine"
)
def test_the_option_of_the_task(tmp_path: Path) -> None:
    row = {"prompt": "Add.", "tests": [{"input": "1 2", "output": "3"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    options = {"path": str(tmp_path / "rows.jsonl"), "packages": ["numpy"]}
    answer = "```python\nimport numpy as np\nprint(np.sum(list(map(int, input().split()))))\n```"
    task = create("code", "code", options)
    task.load()
    problem = task.problem(0, 1)
    assert task.score(problem, answer).reward == 1.0
    config = TasksConfig(mixture={"code": TaskConfig(name="code", options=options)}, workers=1, timeout_s=20.0)
    with VerifierPool(config) as pool:
        assert [verdict.reward for verdict in pool.score([(problem, answer)])] == [1.0]
    with pytest.raises(ConfigError, match=r"tasks\.mixture\.code\.options\.packages: nowhere is not installed"):
        create("code", "code", {**options, "packages": ["nowhere"]}).load()
