"""The reasoning boundary: which problems a trained model solves that its base never could, and how sure that is.

    python -m prorl_mega.boundary runs/demo
    python -m prorl_mega.boundary base=runs/a/evaluation/base.json middle=runs/a/evaluation/policy.json runs/b
    python -m prorl_mega.boundary published.csv --k 128

Needs neither torch nor the models.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from prorl_mega.errors import ConfigError, DataError, StorageError, exit_status
from prorl_mega.evaluation.boundary_study import BOUNDARY_K, BoundaryStudy, study_boundary
from prorl_mega.evaluation.comparison import Record
from prorl_mega.evaluation.conditions import Conditions, incomparable, remarks
from prorl_mega.evaluation.explanations import Explanation, contamination, tokens, truncation
from prorl_mega.evaluation.pass_curves import PassCurves, from_evaluations, read_table
from prorl_mega.evaluation.regimes import MARGIN
from prorl_mega.reporting.boundary_text import to_plain, to_text
from prorl_mega.run.evaluations import BASE, FINAL, load_evaluation
from prorl_mega.run.storage import write_durably

_EPILOG = """\
What is compared, in order, the base first:
    runs/x                       the evaluations `base` and `final` of a run
    runs/x/evaluation/y.json     one evaluation; NAME=PATH gives it, or a run, another name
    table.csv                    published numbers: columns task, model, k, pass; models in order of appearance

Only problems that all evaluations sampled are compared. Printed are, per task, pass@1 and pass@k at the boundary with
intervals, the regime, and the bound that mean and variance of the solve rates set; over tasks, the gain against the
base's boundary; Cover@τ; the problems that crossed, with exact bounds; and what else could explain the difference.
--output DIR also writes boundary.md (the same) and boundary.json (all numbers).

Exit status: 0; 20 and 21 for what cannot be compared or read, 30 for an --output that cannot be written.
"""

Evaluation = dict[str, Any]
"""The content of an evaluation's file."""


def read_evaluations(sources: list[str]) -> dict[str, Evaluation]:
    """Evaluations by the name of their model, in order. Raises ConfigError and DataError."""
    found: dict[str, Evaluation] = {}
    for source in sources:
        for name, path in _files(source):
            try:
                content = load_evaluation(path)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{path}: is no evaluation ({error}); `python -m prorl_mega.evaluate` and training write them"
                ) from None
            if name in found:
                raise ConfigError(f"{source}: there is a {name} already; give it a name of its own: NAME={source}")
            found[name] = content
    if len(found) < 2:
        raise ConfigError(f"{' '.join(sources)}: is one evaluation; name at least two, the base first")
    return found


def _files(source: str) -> list[tuple[str, Path]]:
    """The evaluations that an argument stands for, with their names."""
    named = None if os.path.exists(source) else re.fullmatch(r"([^=/]+)=(.+)", source)
    name, path = (named[1], Path(named[2])) if named else ("", Path(source))
    if os.path.isdir(path):
        present = [path / "evaluation" / f"{label}.json" for label in (BASE, FINAL)]
        if missing := [str(each) for each in present if not each.exists()]:
            raise ConfigError(f"{path}: has no {' and no '.join(missing)}; a finished run has both")
        return [(f"{name or path.resolve().name}/{each.stem}", each) for each in present]
    if not os.path.exists(path):  # also where a name is too long for a file
        raise ConfigError(f"{str(path)[:200]}: does not exist; name a run, an evaluation (.json) or a table (.csv)")
    return [(name or path.stem, path)]


def explain(
    evaluations: dict[str, Evaluation], curves: PassCurves, study: BoundaryStudy, training: list[str]
) -> list[Explanation]:
    """The rival explanations of the difference between the first and the last evaluation."""
    names = [curves.models[0], curves.models[-1]]
    both = [evaluations[name] for name in names]
    overall = study.tasks[0]
    metrics = [each["metrics"] for each in both]
    counts = [curves.problems[overall.task][name] for name in names]
    records = {str(record["key"]): record for record in both[0]["problems"]}
    gained = [records[each.key] for each in study.gained if each.solver == names[1]]
    return [
        _settings({name: each["settings"] for name, each in evaluations.items()}),
        truncation(names, metrics),
        tokens(names, metrics, counts, overall.k),
        _contamination(training, gained),
        Explanation(name="format", found=None, text="these evaluations keep no second, format-relaxed score"),
        Explanation(name="derivation", found=None, text="whether right answers were derived or guessed is not checked"),
    ]


def _settings(of_models: dict[str, Conditions]) -> Explanation:
    """Whether a model was evaluated otherwise than the first one; not known where one has no record of it."""
    first, *later = of_models
    pairs = {model: (of_models[first], of_models[model]) for model in later}
    found = {model: incomparable(*pair) for model, pair in pairs.items()}
    differ = any(found.values())
    said = [
        f"{model}: {text}" if len(later) > 1 else text
        for model, pair in pairs.items()
        for text in (found[model] if differ else remarks(*pair))
    ]
    known = differ or all(of_models.values())
    return Explanation(name="settings", found=differ if known else None, text="; ".join(said) or "the same")


def _contamination(paths: list[str], gained: list[Record]) -> Explanation:
    """The gained problems whose prompts overlap with those of training files."""
    if not paths:
        return contamination(None, [], len(gained))
    from prorl_mega.data import files, schemas  # parsing libraries take a second
    from prorl_mega.data.overlap import EvaluationSet
    from prorl_mega.data.rows import DataRow

    prompts = EvaluationSet()
    for path in paths:
        for item in schemas.parse(schemas.raw_rows(files.find(path)), path, None).items:
            if isinstance(item, DataRow):
                prompts.add(item.fields["prompt"], item.place)
    hits = [str(record["key"]) for record in gained if prompts.find(str(record.get("prompt", "")))]
    return contamination(len(prompts), hits, len(gained))


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m prorl_mega.boundary",
        description="Compares what two or more models can solve, and with which certainty.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="run, evaluation or table; see below")
    parser.add_argument("--k", type=int, default=BOUNDARY_K, help="samples at the boundary (default %(default)s)")
    parser.add_argument(
        "--margin", type=float, default=MARGIN, help="gain over the model before the last that counts (%(default)s)"
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="of the lists of problems (default %(default)s)")
    parser.add_argument("--training", nargs="+", default=[], metavar="PATH", help="data sets to look for contamination")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write boundary.md and boundary.json there")
    return parser.parse_args(given)


def main(arguments: list[str] | None = None) -> int:
    given = _arguments(arguments)

    def command() -> None:
        if given.k < 1 or not 0 <= given.margin < 1 or not 0 < given.confidence < 1:
            raise ConfigError("--k must be at least 1, --margin in [0, 1) and --confidence between 0 and 1")
        tables = [source for source in given.sources if source.lower().endswith(".csv")]
        if tables and len(given.sources) > 1:
            raise ConfigError(f"{tables[0]}: a table holds all models; compare it alone, or evaluations without it")
        evaluations = {} if tables else read_evaluations(given.sources)
        curves = (
            read_table(Path(tables[0]))
            if tables
            else from_evaluations({name: each["problems"] for name, each in evaluations.items()})
        )
        study = study_boundary(curves, k=given.k, margin=given.margin, confidence=given.confidence)
        if not study.tasks:
            raise DataError(f"no task has a k of at most {given.k} for all models; name another --k")
        explanations = explain(evaluations, curves, study, given.training) if evaluations else []
        text = to_text(study, explanations, margin=given.margin, confidence=given.confidence)
        print(text, end="")
        if given.output:
            plain = json.dumps(to_plain(study, explanations), ensure_ascii=False, indent=1, allow_nan=False)
            try:
                given.output.mkdir(parents=True, exist_ok=True)
                write_durably(given.output / "boundary.md", text)
                write_durably(given.output / "boundary.json", plain + "\n")
            except OSError as error:
                raise StorageError(f"--output {given.output} cannot be written: {error.strerror}") from None

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
