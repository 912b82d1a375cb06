"""Our verdicts of IFEval's `official` checkers against the published checker, run beside it.

    python -m venv /tmp/published
    /tmp/published/bin/pip install --no-deps lm-eval==0.4.13 llama-index-core     (its nltk_cache holds punkt_tab)
    /tmp/published/bin/pip install nltk==3.9.1 langdetect==1.0.9 immutabledict packaging
    NLTK_DATA=.../llama_index/core/_static/nltk_cache \\
        .venv/bin/python benchmarks/ifeval_agreement.py --python /tmp/published/bin/python

instruction_following_eval of google-research is taken instead of the harness where the other interpreter finds it. With
`--freeze N`, N answers of every kind and the published verdicts become the table that the tests hold. `--answers` adds
lines {"prompt", "response", "instruction_id_list", "kwargs"}: the samples of a model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.ifeval_cases import Case, cases
from prorl_mega.tasks.instruction.check_registry import CHECKS, checked
from prorl_mega.tasks.instruction.check_registry import followed as followed_ours
from prorl_mega.tasks.instruction.official_checks import OFFICIAL_CHECKS, followed, readings

TABLE = Path(__file__).resolve().parents[1] / "tests" / "tasks" / "tables" / "ifeval_published.jsonl"
SHOWN = 20  # disagreements that are printed
MODES = ("strict", "loose")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter that has the published checker")
    parser.add_argument("--count", type=int, default=600, help="answers of every kind")
    parser.add_argument("--seed", type=int, default=0, help="seed of langdetect on the published side; ours is 0")
    parser.add_argument("--answers", type=Path, help="JSON Lines with answers of a model, added to the others")
    parser.add_argument("--freeze", type=int, metavar="N", help=f"write N answers of every kind to {TABLE.name}")
    given = parser.parse_args()
    todo = [*cases(given.count), *(_answered(given.answers) if given.answers else [])]
    theirs = _published(todo, given.python, given.seed)
    ours = [_official(case) for case in todo]
    differ = _report(todo, ours, theirs)
    if given.freeze:
        _freeze(todo, theirs, given.freeze)
    return 1 if differ else 0


def _answered(path: Path) -> list[Case]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        Case({"kind": kind, **{name: value for name, value in kwargs.items() if value is not None}}, row["response"])
        for row in rows
        for kind, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True)
    ]


def _published(todo: list[Case], python: str, seed: int) -> list[list[bool]]:
    with tempfile.TemporaryDirectory() as folder:
        asked, result = Path(folder, "asked.jsonl"), Path(folder, "result.jsonl")
        lines = (
            json.dumps({
                "kind": case.constraint["kind"],
                "kwargs": {name: value for name, value in case.constraint.items() if name != "kind"},
                "answer": case.answer,
            })
            for case in todo
        )  # fmt: skip
        asked.write_text("\n".join(lines), encoding="utf-8")
        script = Path(__file__).with_name("ifeval_published.py")
        subprocess.run([python, str(script), str(asked), str(result), str(seed)], check=True)
        return [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]


def _official(case: Case) -> list[bool]:
    constraint = checked(case.constraint, OFFICIAL_CHECKS)
    return [followed(readings(case.answer, loose=mode == "loose"), constraint) for mode in MODES]


def _report(todo: list[Case], ours: list[list[bool]], theirs: list[list[bool]]) -> int:
    """Print a line for every kind and the answers on which the two differ; return the number of these."""
    counts: dict[str, Counter[str]] = {}
    differ = []
    for case, mine, published in zip(todo, ours, theirs, strict=True):
        count = counts.setdefault(case.constraint["kind"], Counter())
        count["answers"] += 1
        count["strict"] += published[0]
        count["loose"] += published[1]
        count["differ"] += mine != published
        count["training"] += followed_ours(case.answer, [checked(case.constraint, CHECKS)])[0] != published[0]
        if mine != published:
            differ.append((case, mine, published))
    print(f"{'kind':44} answers  strict   loose  differ  our training checker differs from strict")
    for kind, count in counts.items():
        columns = "".join(f"{count[name]:8}" for name in ("answers", "strict", "loose", "differ", "training"))
        print(f"{kind:43} {columns}")
    for case, mine, published in differ[:SHOWN]:
        print(f"{case.constraint} {case.answer[:300]!r}: ours {mine}, published {published} (strict, loose)")
    print(f"{len(todo)} answers, {len(counts)} kinds: {len(differ)} disagreements")
    return len(differ)


def _freeze(todo: list[Case], theirs: list[list[bool]], count: int) -> None:
    """Write answers of every kind, in turn from those of the same verdicts, so that none that occurs is missing."""
    groups: dict[str, dict[tuple[bool, ...], list[Case]]] = {}
    for case, verdicts in zip(todo, theirs, strict=True):
        groups.setdefault(case.constraint["kind"], {}).setdefault(tuple(verdicts), []).append(case)
    lines = []
    for by_verdict in groups.values():
        taken: list[tuple[Case, tuple[bool, ...]]] = []
        for place in range(count):
            taken += [(found[place], both) for both, found in by_verdict.items() if place < len(found)]
        for case, both in taken[:count]:
            row = {"constraint": case.constraint, "answer": case.answer, **dict(zip(MODES, both, strict=True))}
            lines.append(json.dumps(row, ensure_ascii=False))
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
