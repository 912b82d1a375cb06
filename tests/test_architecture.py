"""The shape of the code base: who imports whom, how long things may get, and what must never appear."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE, MAX_FUNCTION = 400, 60  # lines
MAX_KERNEL = 90  # of a Triton kernel, whose variables live in the registers of one function

ENTRY_POINTS = {"train", "evaluate", "warmstart", "export", "plan", "boundary", "backtest", "report", "serve",
                "creativity", "view", "doctor", "submit", "attempt"}  # fmt: skip
CALLED_BY_TRAIN = {"evaluate", "report"}
"""Entry points whose work the training loop does as well, on its way and at its end."""
BASE = {"protocols", "types", "errors", "plugins", "checksum", "documents", "config", "distributed", "families",
        "huggingface", "faults"}  # fmt: skip
MAY_IMPORT = {
    "errors": {"errors"},
    "plugins": {"plugins", "errors"},
    "types": {"types"},
    "time_limit": {"time_limit"},
    "garbage": {"garbage"},
    "faults": {"faults", "config"},
    "documents": {"documents"},
    "distributed": {"distributed", "errors"},
    "families": {"families", "errors", "types"},
    "huggingface": {"huggingface", "families", "documents", "errors", "plugins", "time_limit"},
    "config": {"config", "families", "huggingface", "distributed", "documents", "errors", "plugins"},
    "checksum": {"checksum"},
    "protocols": BASE,
    "recipe": BASE | {"recipe"},
    "run": BASE | {"run"},
    "evaluation": BASE | {"evaluation", "run"},
    "reporting": BASE | {"reporting", "run", "evaluation"},
    "viewing": BASE | {"viewing", "reporting", "run", "evaluation"},
    "invariant": {"invariant", "errors"},
    "learner": BASE | {"learner", "recipe", "run", "invariant"},
    "transfer": BASE | {"transfer"},
    "rollout": BASE | {"rollout", "garbage", "transfer", "invariant"},
    "servers": BASE | {"servers", "transfer"},
    "weights": BASE | {"weights", "run"},
    "data": {"data", "types", "errors", "config"},
    "sandbox": {"sandbox", "errors"},
    "tasks": BASE | {"tasks", "data", "sandbox", "time_limit"},
    "verifiers": BASE | {"verifiers", "tasks", "sandbox"},
    "sample_requests": {"sample_requests", "types"},
    "planning": BASE | {"planning", "tasks"},
    "slurm": BASE | {"slurm", "run"},
    "served": BASE | {"served", "sample_requests", "run"},
}
"""Inside `prorl_mega`, by folder or module. What is not listed (entry points, build, what they share) is above all."""

HOMES = {"megatron": {"learner"}, "vllm": {"rollout"}, "transformer_engine": {"learner"}, "reasoning_gym": {"tasks"},
         "pyarrow": {"data"}, "huggingface_hub": {"data"}, "numba": {"evaluation"},
         "pydivsufsort": {"evaluation"}}  # fmt: skip
"""Third-party packages that only these folders may import."""

NO_TORCH = {"config", "data", "distributed", "documents", "errors", "families", "faults", "huggingface", "plan",
            "plugins", "backtest", "creativity", "reporting", "run", "sample_requests", "sandbox", "serve", "served",
            "tasks", "planning", "slurm", "submit", "attempt", "time_limit", "types", "verifiers", "view",
            "viewing"}  # fmt: skip
WITH_TORCH = {"prorl_mega/checksum.py", "prorl_mega/distributed/collectives.py"}
"""Files of these folders that only the processes of a job import: nothing that runs on a login node may import them."""
KERNELS_MAY_IMPORT = {"torch", "triton", "prorl_kernels"}

BANNED = {
    r"(?<![\w.])(eval|exec)\(": "runs code that a model or a file may have written",
    r"\b(import|from)\s+(pickle|cloudpickle|dill|shelve|marshal)\b": "unpickling runs code",
    r"\bpickle\.(load|loads|Unpickler)\b": "unpickling runs code",
    r"\ball_gather_object\b|\bbroadcast_object_list\b|\b(send|recv)_object_list\b": "exchanges pickles between ranks",
    r"\btorch\.load\(": "reads pickles; checkpoints are safetensors",
    r"weights_only\s*=\s*False": "reads pickles; checkpoints are safetensors",
    r"\bshell\s*=\s*True\b|\bos\.(system|popen)\(": "gives text to a shell",
    r"trust_remote_code\s*=\s*True": "runs code of a checkpoint",
    r"\b0\.0\.0\.0\b": "listens on every interface",
    r"\byaml\.(load|unsafe_load|full_load)\(": "YAML tags can construct objects; yaml.safe_load does not",
    r"\bpkill\b|\bkillall\b": "ends processes of others",
    r"\btempfile\.mktemp\(": "races for the name",
}
ALLOWED: dict[str, tuple[str, ...]] = {
    # The inside of the sandbox: running programs is what it is for, and it runs nowhere else.
    "prorl_mega/sandbox/guest/programs.py": (r"(?<![\w.])(eval|exec)\(",),
}
"""File to patterns of `BANNED` that a reviewer has let through there."""


def sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


PACKAGE = sources("prorl_mega")
KERNELS = sources("kernels")
SHIPPED = PACKAGE + KERNELS


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


def unit(file: Path) -> str:
    """Folder or module of `prorl_mega` that a file belongs to: `learner`, `types`, `train`, `tasks/__main__`."""
    parts = file.relative_to(ROOT / "prorl_mega").parts
    return "/".join(parts[:2] if parts[-1] == "__main__.py" else parts[:1]).removesuffix(".py")


def imports(file: Path, *, for_types: bool = True) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, in functions and by `importlib` as well; `for_types`: TYPE_CHECKING too."""
    tree = ast.parse(file.read_text())
    if not for_types:
        types = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
        tree.body = [node for node in tree.body if node not in types]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(file)}:{node.lineno}: relative import; write the whole name"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            argument = node.args[0]
            yield node.lineno, str(argument.value) if isinstance(argument, ast.Constant) else ast.unparse(argument)


def module_file(name: str) -> str:
    """The file of the module that `from module import thing` reads, as `relative` spells it."""
    return name.rpartition(".")[0].replace(".", "/") + ".py"


def report(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def test_imports_inside_the_package_point_one_way() -> None:
    problems = []
    for file in PACKAGE:
        allowed = MAY_IMPORT.get(unit(file))
        for line, name in imports(file):
            top, _, rest = name.partition(".")
            if top != "prorl_mega" or not rest:
                continue
            target = rest.split(".")[0]
            if allowed is not None and target not in allowed:
                problems.append(f"{relative(file)}:{line}: {unit(file)} must not import {target}")
            if target in ENTRY_POINTS and not (unit(file) == "train" and target in CALLED_BY_TRAIN):
                problems.append(f"{relative(file)}:{line}: nothing imports the entry point {target}")
    report(problems)


def test_packages_have_one_home() -> None:
    problems = []
    for file in PACKAGE:
        for line, name in imports(file):
            homes = HOMES.get(name.split(".")[0])
            if homes is not None and unit(file) not in homes:
                problems.append(f"{relative(file)}:{line}: only {', '.join(homes)}/ may import {name.split('.')[0]}")
    report(problems)


def test_login_node_code_imports_no_torch() -> None:
    report(
        [
            f"{relative(file)}:{line}: {unit(file)} must not import {name}"
            for file in PACKAGE
            if unit(file) in NO_TORCH and relative(file) not in WITH_TORCH
            for line, name in imports(file, for_types=False)
            if name.split(".")[0] in ("torch", "triton", "megatron", "vllm") or module_file(name) in WITH_TORCH
        ]
    )


def test_recipe_is_pure() -> None:
    forbidden = ("torch.distributed", "megatron", "vllm", "pathlib", "os", "io", "subprocess", "socket")
    problems = []
    for file in PACKAGE:
        if unit(file) == "recipe":
            for line, name in imports(file):
                if any(name == entry or name.startswith(f"{entry}.") for entry in forbidden):
                    problems.append(f"{relative(file)}:{line}: recipe/ is numbers in, numbers out; no {name}")
    report(problems)


def test_kernels_import_only_torch_and_triton() -> None:
    standard = set(__import__("sys").stdlib_module_names)
    report(
        [
            f"{relative(file)}:{line}: kernels must not import {name}"
            for file in KERNELS
            if "benchmarks" not in file.parts
            for line, name in imports(file)
            if name.split(".")[0] not in KERNELS_MAY_IMPORT | standard
        ]
    )


def test_kernels_is_not_a_top_level_package() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists(), "a package called kernels shadows Hugging Face's"


def test_no_drawer_for_odds_and_ends() -> None:
    drawers = re.compile(r"^(utils?|helpers?|misc|common)(\.py)?$")
    found = {relative(path) for path in (ROOT / "prorl_mega").rglob("*") if drawers.match(path.name)}
    assert not found, f"name the noun instead: {sorted(found)}"


def test_tests_and_configs_are_not_packages() -> None:
    found = [relative(file) for folder in ("tests", "configs") for file in (ROOT / folder).rglob("__init__.py")]
    assert not found, found


def test_files_and_functions_stay_readable() -> None:
    problems = []
    for file in SHIPPED + sources("tests", "benchmarks"):
        text = file.read_text()
        if (lines := text.count("\n")) > MAX_FILE:
            problems.append(f"{relative(file)}: {lines} lines, more than {MAX_FILE}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                most = MAX_KERNEL if is_kernel(node) else MAX_FUNCTION
                if length > most:
                    problems.append(f"{relative(file)}:{node.lineno}: {node.name}() has {length} lines, not {most}")
    report(problems)


def is_kernel(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is decorated with `triton.jit`, with or without arguments."""
    names = [ast.unparse(each).partition("(")[0] for each in function.decorator_list]
    return "triton.jit" in names


def code_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines without comments and strings of documentation, so that prose may name what code must not do."""
    text = file.read_text()
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for number, line in enumerate(text.splitlines(), start=1):
        if number not in prose and not line.lstrip().startswith("#"):
            yield number, line


def test_nothing_dangerous() -> None:
    problems = []
    for file in SHIPPED + sources("benchmarks"):
        for number, line in code_lines(file):
            for pattern, reason in BANNED.items():
                found = re.search(pattern, line)
                if found and pattern not in ALLOWED.get(relative(file), ()):
                    problems.append(f"{relative(file)}:{number}: {found[0]!r} {reason}")
    for file in [*(ROOT / "slurm").glob("*"), *(ROOT / "requirements").glob("*.sh"), ROOT / "Makefile"]:
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            if re.search(r"\bpkill\b|\bkillall\b|^\s*eval\b", line):
                problems.append(f"{relative(file)}:{number}: {line.strip()!r}")
    report(problems)


def test_nothing_unfinished() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\bNotImplementedError\b|\bplaceholder\b")
    report(
        [
            f"{relative(file)}:{number}: {line.strip()!r}"
            for file in SHIPPED
            for number, line in enumerate(file.read_text().splitlines(), start=1)
            if marks.search(line)
        ]
    )


def test_public_class_names_mean_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for file in SHIPPED:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and "benchmarks" not in file.parts:
                places.setdefault(node.name, []).append(relative(file))
    report([f"{name} is a class of each of {', '.join(files)}" for name, files in places.items() if len(files) > 1])


def test_docstrings_begin_with_their_subject() -> None:
    """`Of every token` as a docstring lacks its noun: `The weights of every token`."""
    dangling = re.compile(r"(Of|With|As|By|For|From a|What|Where) ")
    problems = []
    for file in SHIPPED:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Expr(value=ast.Constant(value=str(text))) if dangling.match(text):
                    problems.append(f"{relative(file)}:{node.lineno}: {text.splitlines()[0]}")
    report(problems)


def test_settings_name_no_classes() -> None:
    files = list((ROOT / "configs").rglob("*.yaml"))
    report([relative(file) for file in files if "_target_" in file.read_text()])


def test_root_configs_fit_on_a_screen() -> None:
    for name in ("train", "warmstart"):
        assert len((ROOT / "configs" / f"{name}.yaml").read_text().splitlines()) <= 30


@pytest.mark.parametrize(
    "target",
    [
        "help",
        "setup",
        "demo",
        "smoke",
        "test",
        "test-slow",
        "test-faults",
        "faults-table",
        "test-slurm",
        "test-gpu",
        "bench",
        "lint",
        "types",
        "format",
        "clean",
    ],
)
def test_make_targets_explain_themselves(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:[^\n]*## \w", makefile, re.MULTILINE), f"Makefile: {target} has no '## help'"
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert target in phony[1].split()


def test_documents_stay_short() -> None:
    for name in ("configs/README.md", "slurm/README.md"):
        lines = (ROOT / name).read_text().count("\n")
        assert lines <= 80, f"{name}: {lines} lines"
