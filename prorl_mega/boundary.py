"""The reasoning boundary: which problems a trained model solves that its base never could, and how sure that is.

    python -m prorl_mega.boundary runs/demo
    python -m prorl_mega.boundary base=runs/a/evaluation/base.json middle=runs/a/evaluation/policy.json runs/b
    python -m prorl_mega.boundary published.csv --k 128

Needs neither torch nor the models.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prorl_mega.errors import ConfigError, DataError, StorageError, exit_status
from prorl_mega.evaluation.boundary_study import BOUNDARY_K, study_boundary
from prorl_mega.evaluation.comparison import Record
from prorl_mega.evaluation.conditions import described
from prorl_mega.evaluation.explanations import Explanation, contamination
from prorl_mega.evaluation.mastery import RELIABLY, Mastery, mastered
from prorl_mega.evaluation.pass_curves import PassCurves, from_evaluations, read_table
from prorl_mega.evaluation.regimes import MARGIN
from prorl_mega.evaluation.rivals import Rivals, examine
from prorl_mega.evaluation.sources import Evaluated, read_evaluated, read_evaluations
from prorl_mega.huggingface.token_pieces import TokenPieces
from prorl_mega.reporting.boundary_creativity import creativity_rows
from prorl_mega.reporting.boundary_page import BoundaryPage
from prorl_mega.reporting.boundary_text import to_plain, to_text
from prorl_mega.run.storage import write_durably

_EPILOG = """\
What is compared, in order, the base first:
    runs/x                       the evaluations `base` and `final` of a run
    runs/x/evaluation/y.json     one evaluation; NAME=PATH gives it, or a run, another name
    table.csv                    published numbers: columns task, model, k, pass; models in order of appearance

Only problems that all evaluations sampled are compared. Printed are, per task, pass@1 and pass@k at the boundary with
intervals, the regime, and the bound that mean and variance of the solve rates set; over tasks, the gain against the
base's boundary; Cover@τ; the problems that crossed, with exact bounds; and what else could explain the difference.
--output DIR also writes boundary.html (a page with the answers), boundary.md (what is printed) and boundary.json (all
numbers).

Exit status: 0; 20 and 21 for what cannot be compared or read, 30 for an --output that cannot be written.
"""


def _contamination(paths: list[str], gained: Sequence[Record]) -> Explanation:
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


def _mastery(given: argparse.Namespace, curves: PassCurves, evaluations: dict[str, Evaluated]) -> list[Mastery]:
    """The problems that went from never to reliably. Raises DataError, and ConfigError for the seed of --further."""
    first = next(iter(evaluations.values()), None)
    further = read_evaluated(given.further) if given.further else None
    if first and further:
        seeds = [each.content["settings"].get("seed") for each in (first, further)]
        if seeds[0] == seeds[1] and seeds[0] is not None:
            raise ConfigError(f"--further {given.further}: has the seed of the base's evaluation: the same samples")
    return mastered(
        curves,
        first.content["problems"] if first else (),
        further.content["problems"] if further else (),
        reliably=given.reliably,
        confidence=given.confidence,
    )


def _tokenizers(evaluations: dict[str, Evaluated], named: Path | None) -> dict[str, TokenPieces]:
    """The tokenizers of the models whose answers were kept: the one that was named, or those of `model.path`."""
    found = {}
    for name, each in evaluations.items():
        if each.store is None:
            continue
        if named:
            found[name] = TokenPieces(named)
            continue
        settings = each.store.header.config.get("model")
        if pieces := TokenPieces.known(settings.get("path") if isinstance(settings, dict) else None):
            found[name] = pieces
    return found


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
    parser.add_argument(
        "--reliably",
        type=float,
        default=RELIABLY,
        help="share of samples that counts as mastered (default %(default)s)",
    )
    parser.add_argument(
        "--further", type=Path, metavar="PATH", help="evaluation of the base with other seeds, on some of the problems"
    )
    parser.add_argument(
        "--creativity", type=Path, metavar="FILE", help="creativity.json of these models, to show beside their boundary"
    )
    parser.add_argument("--training", nargs="+", default=[], metavar="PATH", help="data sets to look for contamination")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="DIR", help="of all models, to colour tokens; without it that of model.path"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write boundary.html, boundary.md and boundary.json there"
    )
    return parser.parse_args(given)


def _write(directory: Path, files: dict[str, str]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_durably(directory / name, content)
    except OSError as error:
        raise StorageError(f"--output {directory} cannot be written: {error.strerror}") from None


def main(arguments: list[str] | None = None) -> int:
    given = _arguments(arguments)

    def command() -> None:
        if given.k < 1 or not 0 <= given.margin < 1 or not 0 < given.confidence < 1 or not 0 < given.reliably <= 1:
            raise ConfigError(
                "--k must be at least 1, --margin in [0, 1), --confidence between 0 and 1 and --reliably in (0, 1]"
            )
        tables = [source for source in given.sources if source.lower().endswith(".csv")]
        if tables and len(given.sources) > 1:
            raise ConfigError(f"{tables[0]}: a table holds all models; compare it alone, or evaluations without it")
        evaluations = {} if tables else read_evaluations(given.sources)
        curves = (
            read_table(Path(tables[0]))
            if tables
            else from_evaluations({name: each.content["problems"] for name, each in evaluations.items()})
        )
        study = study_boundary(curves, k=given.k, margin=given.margin, confidence=given.confidence)
        if not study.tasks:
            raise DataError(f"no task has a k of at most {given.k} for all models; name another --k")
        contaminated = partial(_contamination, given.training)
        rivals = examine(evaluations, study, contaminated) if evaluations else Rivals(explanations=[])
        mastery = _mastery(given, curves, evaluations)
        creativity = creativity_rows(given.creativity) if given.creativity else []
        text = to_text(
            study, rivals, mastery, creativity,
            margin=given.margin, confidence=given.confidence, reliably=given.reliably,
        )  # fmt: skip
        print(text, end="")
        if given.output:
            page = BoundaryPage(
                study=study, rivals=rivals, mastery=mastery, creativity=creativity,
                margin=given.margin, confidence=given.confidence, reliably=given.reliably,
                conditions={name: described(each.content["settings"]) for name, each in evaluations.items()},
                pieces=_tokenizers(evaluations, given.tokenizer),
            )  # fmt: skip
            plain = json.dumps(to_plain(study, rivals, mastery), ensure_ascii=False, indent=1, allow_nan=False)
            _write(given.output, {"boundary.md": text, "boundary.json": plain + "\n", "boundary.html": page.html()})

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
