"""kill -9 at every named place of a run, one after the other: what is left at the end is the run that nothing hit."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from helpers.programs import metrics, outcome, run_program

from prorl_mega.config.faults import AT_DATA, SITES

pytestmark = pytest.mark.faults

DATA = {site for sites in AT_DATA.values() for site in sites}
KILLED = [site for site in SITES if site not in DATA]
BEFORE = ("open", "load")  # reached before the first step
STEPS = 2 * len(KILLED) + 2
RUN = (
    "experiment=small",
    f"schedule.steps={STEPS}",
    "schedule.save_every=1",
    "schedule.evaluate_every=2",
    "schedule.parity_every=2",
    "schedule.reset.every=7",
    "schedule.reset.min_distance=3",
)
SERVERS = ("placement=disaggregated", "rollout.staleness=0")
OWN = ("servers/", "staleness/", "groups/in_work", "groups/ready")


def plan(ranks: int) -> str:
    """A kill at every site, each in a step of its own; evaluations and parity have their turn in even ones."""
    faults = []
    for index, site in enumerate(KILLED):
        step, rank = 0 if site in BEFORE else 2 * index + 2, index % ranks
        if site.startswith(("record", "save/manifest", "save/renamed", "save/latest")):
            rank = 0  # the others do not come by
        faults.append(f"{{site: {site}, action: kill, step: {step}, rank: {rank}}}")
    return f"faults=[{', '.join(faults)}]"


@pytest.mark.parametrize(("placement", "ranks"), [("colocated", 1), ("colocated", 2), ("servers", 1)])
def test_a_kill_at_every_site(setup: Path, placement: str, ranks: int) -> None:
    expected, run = setup / "runs" / f"whole_{placement}_{ranks}", setup / "runs" / f"killed_{placement}_{ranks}"
    assert run_program("prorl_mega.train", setup, *RUN, f"name={expected.name}", ranks=ranks).code == 0
    own = SERVERS if placement == "servers" else ()
    began, starts, code = time.monotonic(), 0, 1
    while code:
        starts += 1
        assert starts <= len(KILLED) + 1, "a start without a kill has failed"
        finished = run_program("prorl_mega.train", setup, *RUN, *own, f"name={run.name}", plan(ranks), ranks=ranks)
        code = finished.code
    witnesses = {json.loads(path.read_text())["site"] for path in (run / "faults").iterdir()}
    assert witnesses == set(KILLED)
    assert starts == len(KILLED) + 1

    rows = [
        {name: value for name, value in row.items() if not name.startswith(OWN)} for row in metrics(run, seconds=False)
    ]
    assert rows == metrics(expected, seconds=False)
    last = f"checkpoints/step_{STEPS:06d}"
    differs = ("settings.yaml", "MANIFEST.json")  # the faults are settings
    ours, theirs = ({k: v for k, v in outcome(each / last).items() if k not in differs} for each in (run, expected))
    if placement == "servers":
        ours, theirs = ({k: v for k, v in each.items() if "policy" in k} for each in (ours, theirs))
    assert ours == theirs != {}
    print(f"seen: {len(KILLED)} kills, each at another place; the same numbers and files; "
          f"{(time.monotonic() - began) / starts:.0f} s a start")  # fmt: skip
