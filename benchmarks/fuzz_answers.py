"""Judges of answers under random input, for as long as one likes: `python benchmarks/fuzz_answers.py --seconds 3600`.

Three things are looked for, and each one found is printed, as small as hypothesis can make it:

    equality      an accepted formula that is not equal to its reference to 60 digits, by an oracle that reads none
    extraction    a completion at which reading the answer raises or takes more than a second of the processor
    judging       an answer at which comparing it with a reference raises or takes more than a second of the processor

Exit status: 0, or 1 when something was found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.random_formulas import wrongly_accepted

from prorl_mega.tasks import extract
from prorl_mega.tasks.answers.equivalence import equivalent, prepare

EXAMPLES = 200  # of one kind, before the next one has its turn
SLOW_S = 1.0
TABLES = Path(__file__).parents[1] / "tests" / "tasks" / "tables"
MARKS = (
    r"\boxed{ } { ( ) [ ] $ $$ \( \) \[ \] ^ _ = < > \le \ne \approx \frac{ }{ \sqrt{ \text{ , . ; : - + * / ! ? "
    r"% \% \$ ** ` ``` <think> </think> <answer> </answer> \fbox{ \left( \right) \times \cdot \pi not or but no "
    r"82 83 0.5 x y answer is **Answer: \infty ^{-1} \circ 1e999 \lfloor \rfloor | ' & \\ "
    r"\begin{pmatrix} \end{pmatrix} \log_ e i d"
)


def fragments() -> st.SearchStrategy[str]:
    """Texts of what the tables of right and wrong answers are made of, and of anything."""
    rows = [line.split("\t") for name in ("math", "stem") for line in (TABLES / f"{name}.tsv").read_text().splitlines()]
    answers = sorted({cell for row in rows if len(row) > 2 for cell in (row[0], row[2])})
    piece = st.one_of(st.sampled_from(MARKS.split()), st.sampled_from(answers), st.text(max_size=6))
    return st.lists(st.tuples(piece, st.sampled_from(["", " ", "\n"])).map("".join), max_size=24).map("".join)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    wanted = parser.parse_args()
    ends, round_, found = time.monotonic() + wanted.seconds, wanted.seed, 0
    counts = dict.fromkeys(("equality", "extraction", "judging"), 0)
    slowest = dict.fromkeys(counts, 0.0)
    text = fragments()
    prepare()  # imports are not what is timed

    def timed(kind: str, check: Callable[[], object]) -> None:
        started = time.process_time()
        check()
        seconds = time.process_time() - started
        counts[kind] += 1
        slowest[kind] = max(slowest[kind], seconds)
        assert seconds <= SLOW_S, f"took {seconds:.2f} s"

    @given(st.integers(0, 2**63))
    def equality(number: int) -> None:
        counts["equality"] += 1
        pair = wrongly_accepted(Random(number))
        assert pair is None, f"accepted {pair[1]!r} for {pair[0]!r}"

    @given(text, st.sampled_from(list(extract.Form)))
    def extraction(completion: str, form: extract.Form) -> None:
        timed("extraction", lambda: extract.statement(completion, form))

    @given(text, text)
    def judging(reference: str, answer: str) -> None:
        timed("judging", lambda: equivalent(reference, answer))

    limits = settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    checks = [limits(check) for check in (equality, extraction, judging)]
    while time.monotonic() < ends:
        for check in checks:
            try:
                seed(round_)(check)()
            except Exception as error:
                found += 1
                print(f"round {round_}, {check.__name__}: {error}\n    {getattr(error, '__notes__', '')}", flush=True)
        round_ += 1
    print(f"{found} found in rounds {wanted.seed} to {round_ - 1}; tried {counts}; slowest {slowest} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
