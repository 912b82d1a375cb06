"""The agreement of the verifiers of mathematics, and the answers on which they differ.

    python -m prorl_mega.tasks agreement runs/x/samples/*.jsonl --data problems.jsonl   the answers of a run
    python -m prorl_mega.tasks agreement answers.jsonl                                  pairs from a file

The answers of a run are compared with the references of the data set that --data names; the second form reads lines
{"reference": "1/2", "answer": "0.5"}. There are three verifiers: `rules` is the task `math` as it is, `plain` the one
that its option `second: plain` adds, and `math-verify` that library alone. For each pair of them the report counts the
answers that both accept, that only one accepts, and that neither accepts. It then lists answers on which they differ:
a verifier that accepts what the others refuse is either better or fooled, and a person has to decide which.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from prorl_mega.data import schemas
from prorl_mega.data.canonical import Domain
from prorl_mega.errors import DataError, renamed
from prorl_mega.tasks import extract
from prorl_mega.tasks.answers import equivalence, plain, symbolic

JUDGES: dict[str, Callable[[str, str], bool]] = {
    "rules": equivalence.equivalent,
    "plain": plain.agrees,
    "math-verify": symbolic.alone,
}


@dataclass(frozen=True, slots=True)
class Judged:
    reference: str
    answer: str
    accepted: tuple[str, ...]  # names of the judges that accept it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="samples of a run, or JSON Lines with reference and answer"
    )
    parser.add_argument("--data", metavar="PATH", help="data set with the references of a run's samples")
    parser.add_argument(
        "--schema", default=schemas.AUTO, help="how the rows of --data are written (default: %(default)s)"
    )
    parser.add_argument(
        "--form", default="boxed", choices=[form.value for form in extract.Form],
        help="how completions of a run mark their answer (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rows",
        type=int,
        default=20,
        metavar="N",
        help="differing answers to list for each pair (default: %(default)s)",
    )


def judge(pairs: Iterator[tuple[str, str]]) -> list[Judged]:
    """Every judge's verdict about (reference, answer) pairs; a pair that comes again counts again."""
    equivalence.prepare()
    return [
        Judged(reference, answer, tuple(name for name, accepts in JUDGES.items() if accepts(reference, answer)))
        for reference, answer in pairs
    ]


def table(judged: list[Judged], one: str, other: str) -> Counter[str]:
    """The numbers of answers that `both`, only one (its name) or `neither` of two judges accepts."""
    counts: Counter[str] = Counter()
    for each in judged:
        found = [name for name in (one, other) if name in each.accepted]
        counts["both" if len(found) == 2 else found[0] if found else "neither"] += 1
    return counts


def report(given: argparse.Namespace) -> None:
    """Print the report that `add_arguments` describes. Raises DataError for a file or a line that cannot be read."""
    judged = judge(_pairs(given))
    print(f"{len(judged)} answers")
    for name in JUDGES:
        print(f"  accepted by {name:12} {sum(name in each.accepted for each in judged)}")
    for one, other in combinations(JUDGES, 2):
        counts = table(judged, one, other)
        same = counts["both"] + counts["neither"]
        print(
            f"\n{one} and {other}: agree on {same} of {len(judged)} ({100 * same / max(1, len(judged)):.1f} %); "
            f"both accept {counts['both']}, only {one} {counts[one]}, only {other} {counts[other]}"
        )
        differ = [each for each in judged if (one in each.accepted) != (other in each.accepted)]
        for each in list(dict.fromkeys(differ))[: given.rows]:
            accepting = one if one in each.accepted else other
            print(f"  only {accepting:12} {each.reference[:60]!r}  {each.answer[:60]!r}")


def _pairs(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    references: dict[str, str] | None = None  # answers of the data set by the ids of its rows
    if given.data:
        rows = schemas.read(given.data, Domain.math, schema=given.schema).rows
        references = {row.fields["id"]: row.fields["answer"] for row in rows}
    for path in given.files:
        for number, line in enumerate(_lines(path), start=1):
            try:
                row = json.loads(line)
                if references is None:
                    yield str(row["reference"]), str(row["answer"])
                    continue
                reference = references.get(str(row["key"]).partition("/")[2])
                for answer in extract.statement(str(row["completion"]), extract.Form(given.form)) if reference else []:
                    yield str(reference), answer
            except (ValueError, KeyError, TypeError) as error:
                needed = "reference and answer" if references is None else "key and completion"
                raise DataError(f"{path}:{number}: must be a JSON object with {needed} ({error})") from None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from None


if __name__ == "__main__":
    renamed("python -m prorl_mega.tasks.math.agreement", "python -m prorl_mega.tasks agreement")
