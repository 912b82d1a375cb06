"""pass@k of several models, per task: from evaluations, problem by problem, or from a table of published numbers."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from prorl_mega.documents import brief
from prorl_mega.errors import DataError
from prorl_mega.evaluation.comparison import ALL_TASKS, Record
from prorl_mega.evaluation.pass_at_k import passes
from prorl_mega.evaluation.summary import powers_of_two

COLUMNS = ("task", "model", "k", "pass")


@dataclass(kw_only=True, slots=True)
class PassCurves:
    """`means[task][model][k]`; the models in order, the base first.

    `problems[task][model]` are the (samples, solved) of the task's problems, `[problems]` and in the same order for all
    models, `keys[task]` their keys; without them (a table) nothing is known about uncertainty. `notes` are sentences on
    what was left out of the comparison.
    """

    models: list[str]
    means: dict[str, dict[str, dict[int, float]]]
    problems: dict[str, dict[str, list[tuple[int, int]]]] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def boundary_k(self, task: str, wanted: int) -> int:
        """The largest k ≤ `wanted` at which every model has a value; 0 if there is none."""
        if task in self.problems:  # whatever k is asked for can be estimated, up to the fewest samples of a problem
            return min(wanted, *(samples for of_model in self.problems[task].values() for samples, _ in of_model))
        curves = list(self.means[task].values())
        shared = set(curves[0]).intersection(*curves[1:])
        return max((k for k in shared if k <= wanted), default=0)

    def per_problem(self, task: str, k: int) -> np.ndarray | None:
        """`[models, problems]` float64: pass@k of every problem; None for a table."""
        if task not in self.problems:
            return None
        of_models = self.problems[task]
        return np.array([passes(of_models[model], k) for model in self.models])


def from_evaluations(evaluations: dict[str, list[Record]]) -> PassCurves:
    """The curves of the problems that all evaluations share, for k = 1, 2, 4, … up to the fewest samples of a problem.

    A problem of which a model has less than half of its usual number of verdicts is left out: it would hold the k of
    all others down. DataError when nothing is left.
    """
    keyed = [_by_key(model, records) for model, records in evaluations.items()]
    sampled = [{key for key, each in records.items() if int(each["samples"]) > 0} for records in keyed]
    common = [key for key in keyed[0] if all(key in each for each in sampled)]
    if not common:
        raise DataError(f"{' and '.join(evaluations)} have no problem in common that was sampled in all of them")
    usual = [float(np.median([int(records[key]["samples"]) for key in common])) for records in keyed]
    shared = [
        key
        for key in common
        if all(2 * int(records[key]["samples"]) >= half for records, half in zip(keyed, usual, strict=True))
    ]
    tasks: dict[str, list[str]] = {}
    for key in shared:
        tasks.setdefault(str(keyed[0][key]["task"]), []).append(key)
    groups = {**({ALL_TASKS: shared} if len(tasks) > 1 else {}), **tasks}
    curves = PassCurves(models=list(evaluations), means={}, notes=_left_out(list(evaluations), keyed, common, shared))
    for task, keys in groups.items():
        counts = {
            model: [(int(records[key]["samples"]), int(records[key]["solved"])) for key in keys]
            for model, records in zip(evaluations, keyed, strict=True)
        }
        fewest = min(samples for each in counts.values() for samples, _ in each)
        curves.problems[task] = counts
        curves.keys[task] = keys
        curves.means[task] = {
            model: {k: float(passes(each, k).mean()) for k in powers_of_two(fewest)} for model, each in counts.items()
        }
    return curves


def _left_out(models: list[str], keyed: list[dict[str, Record]], common: list[str], shared: list[str]) -> list[str]:
    """Sentences on the problems that are not compared, and on other numbers of samples."""
    notes = []
    if others := [
        f"{model} has {len(records) - len(common)} more"
        for model, records in zip(models, keyed, strict=True)
        if len(records) > len(common)
    ]:
        notes.append(
            f"Compared are the {len(common)} problems of which all models have verdicts; {', '.join(others)}, which do "
            "not count."
        )
    kept = set(shared)
    if thin := [key for key in common if key not in kept]:
        notes.append(
            f"{len(thin)} problems are left out, because a model has less than half of its usual number of verdicts "
            f"on them: {', '.join(thin[:5])}{' …' if len(thin) > 5 else ''}."
        )
    spans = []
    for model, records in zip(models, keyed, strict=True):
        of_model = [int(records[key]["samples"]) for key in shared]
        low, high = min(of_model), max(of_model)
        spans.append(f"{model} {high}" if low == high else f"{model} {low} to {high}")
    if len({span.rpartition(" ")[2] for span in spans}) > 1 or any(" to " in span for span in spans):
        notes.append(
            f"Samples per problem: {', '.join(spans)}. pass@k is compared at the same k for all and is not biased by "
            'this; "never solved" is, by how often each model tried, and its bounds allow for it.'
        )
    return notes


def _by_key(model: str, records: list[Record]) -> dict[str, Record]:
    found = {str(record["key"]): record for record in records}
    if len(found) < len(records):
        twice = Counter(str(record["key"]) for record in records).most_common(1)[0][0]
        raise DataError(f"{model} has the problem {twice} more than once; every problem has one record")
    return found


def read_table(path: Path) -> PassCurves:
    """The curves of a CSV file with the columns task, model, k and pass. DataError names the line that is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = list(reader.fieldnames or [])
            if odd := [name for name in COLUMNS if header.count(name) != 1]:
                has = f"has {'two columns' if odd[0] in header else 'no column'} {', '.join(odd)}"
                raise DataError(
                    f"{path}: {has}; the columns must be {', '.join(COLUMNS)}, with commas between them, and the first "
                    f"line is {brief(','.join(header))}"
                )
            return _from_rows(path, ((reader.line_num, row) for row in reader))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV file: {error}") from None


def _from_rows(path: Path, rows: Iterable[tuple[int, dict[str, Any]]]) -> PassCurves:
    curves = PassCurves(models=[], means={})
    for line, row in rows:
        task, model, k, share = _values(f"{path}:{line}", row)
        if model not in curves.models:
            curves.models.append(model)
        of_model = curves.means.setdefault(task, {}).setdefault(model, {})
        if of_model.setdefault(k, share) != share:
            raise DataError(f"{path}:{line}: pass@{k} of {model} on {task} is {share:g} here and {of_model[k]:g} above")
    if len(curves.models) < 2:
        raise DataError(f"{path}: has {len(curves.models)} model; at least two are compared")
    for task, of_models in curves.means.items():
        if missing := [model for model in curves.models if model not in of_models]:
            raise DataError(f"{path}: {task} has no rows of {', '.join(missing)}; every model needs every task")
    return curves


def _values(place: str, row: dict[str, Any]) -> tuple[str, str, int, float]:
    if None in row or any(row[name] is None for name in COLUMNS):  # a decimal comma would be read as 0
        raise DataError(f"{place}: has more or fewer values than the table has columns; numbers have a decimal point")
    task, model = (str(row[name]).strip() for name in ("task", "model"))
    if not task or not model:
        raise DataError(f"{place}: task and model must not be empty")
    try:
        if not row["k"].strip().isdecimal():
            raise ValueError
        k, share = int(row["k"]), float(row["pass"])
    except ValueError:
        raise DataError(
            f"{place}: k must be a whole number and pass a number; they are {row['k']} and {row['pass']}"
        ) from None
    if k < 1 or not 0 <= share <= 1:
        raise DataError(
            f"{place}: k must be at least 1, pass between 0 and 1; they are {k} and {share:g} (percent: divide by 100)"
        )
    return task, model, k, share
