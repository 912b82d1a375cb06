"""The live page over many long runs: how fast it starts and paints, how soon a new row is seen, and what it takes.

    python benchmarks/view.py                      20 runs of 5,000 steps with 60 metrics, in a real headless Chromium
    python benchmarks/view.py --runs 5 --steps 500

The runs are made up, under names that a run's metrics have, in a temporary directory. Needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from prorl_mega.config.schema import RunConfig, ScheduleConfig
from prorl_mega.run.settings import write_settings

TASKS = (
    "math",
    "code",
    "stem",
    "logic",
    "instruction",
    "gcd",
    "sorting",
    "sudoku",
    "graphs",
    "algebra",
    "arcs",
    "words",
)
NAMES = [
    *(f"reward/{task}" for task in ("mean", *TASKS)),
    "pass/train", "policy/kl", "policy/entropy", "policy/loss", "policy/clipped_low", "policy/clipped_high",
    "policy/ratio_max", "policy/kl_coef", "optimizer/grad_norm", "optimizer/learning_rate", "optimizer/skipped",
    "reference/reset", "reference/resets", "length/mean", "length/max", "length/min", "length/total",
    "length/truncated", "length/limit", "sampler/logprob_gap", "sampler/logprob_gap_max", "sampler/weight_mean",
    "sampler/weight_max", "groups/kept", "groups/sampled", "groups/dropped/all_solved",
    "groups/dropped/none_solved", "groups/dropped/not_scored", "curriculum/seen", "curriculum/solved",
    "memory/resident_mib", "seconds/rollout", "seconds/verify", "seconds/reference", "seconds/update",
    "seconds/push", "seconds/other", "seconds/step", "seconds/tokens_per_second", "seconds/save",
    "seconds/verifier_math", "seconds/verifier_code", "advantage/mean", "advantage/std", "stage", "samples/total",
    "tokens/total", "shaping/overlong",
]  # fmt: skip
EVALUATED = ("evaluation/pass@1", "evaluation/pass@16")


def write_runs(root: Path, runs: int, steps: int) -> list[Path]:
    """Run directories with metrics.jsonl of about 1.9 kB per step."""
    found = []
    for index in range(runs):
        directory = root / f"sweep_{index % 3}" / f"run_{index:02d}"
        directory.mkdir(parents=True)
        write_settings(
            directory / "config.yaml",
            RunConfig(name=directory.name, seed=index, schedule=ScheduleConfig(steps=2 * steps)),
        )
        dice = np.random.default_rng(index)
        values = 0.5 + 0.3 * np.linspace(0, 1, steps)[:, None] + 0.05 * dice.normal(size=(steps, len(NAMES)))
        with (directory / "metrics.jsonl").open("w") as file:
            for step, row in enumerate(values.tolist(), 1):
                file.write(to_line(step, row))
        (directory / "LOCK").write_text("")
        found.append(directory)
    return found


def to_line(step: int, row: list[float]) -> str:
    numbers = dict(zip(NAMES, row, strict=True)) | {"reference/reset": float(step % 500 == 0), "seconds/step": 60.0}
    if step % 20 == 0:
        numbers |= dict(zip(EVALUATED, row, strict=False))
    return json.dumps({"step": step} | numbers) + "\n"


@contextlib.contextmanager
def started(root: Path) -> Iterator[tuple[str, psutil.Process, float]]:
    """The address of a server, its process, and the seconds until it answered."""
    began = time.monotonic()
    command = [sys.executable, "-m", "prorl_mega.view", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().partition("http")[2].partition(";")[0]
            yield f"http{address}", psutil.Process(process.pid), time.monotonic() - began
        finally:
            process.terminate()


def painted(browser: Any, address: str, drawn: str) -> dict[str, float]:
    """Milliseconds from the navigation to the first paint, the first paint with numbers, and to where `drawn` holds."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(address)
    page.wait_for_function(
        f"() => {drawn} && new Promise(done => requestAnimationFrame(() => setTimeout(() => done(true))))",
        timeout=60_000,
    )
    found: dict[str, float] = page.evaluate(
        """() => ({ paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
        numbers: Number(document.documentElement.dataset.first), whole: performance.now() })"""
    )
    context.close()
    return found


def seen_after(browser: Any, address: str, run: Path, steps: int) -> list[float]:
    """Seconds from writing a row to its being drawn, ten times."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(address)
    page.wait_for_function("() => prorl.charts.get('Reward')?.plot", timeout=60_000)
    page.wait_for_timeout(1500)
    found = []
    for step in range(steps + 1, steps + 11):
        with (run / "metrics.jsonl").open("a") as file:
            file.write(to_line(step, [0.5] * len(NAMES)))
        began = time.monotonic()
        page.wait_for_function("step => prorl.charts.get('Reward').x.at(-1) === step", arg=step, timeout=60_000)
        found.append(time.monotonic() - began)
        page.wait_for_timeout(170 * (step % 7))
    context.close()
    return found


def measure(root: Path, runs: int, steps: int) -> None:
    from playwright.sync_api import sync_playwright

    written = write_runs(root, runs, steps)
    size = sum((run / "metrics.jsonl").stat().st_size for run in written)
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{runs} runs of {steps} steps with {len(NAMES)} metrics: {size / 1e6:.0f} MB; {load}")
    keys = [hashlib.sha256(os.fsencode(run.resolve())).hexdigest()[:16] for run in written]
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver, started(root) as (address, process, seconds):
        cost = sum(process.cpu_times()[:2])
        print(
            f"start to listening: {seconds:.2f} s, {cost:.2f} s of a core, {process.memory_info().rss / 2**20:.0f} MiB"
        )
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        rows = f"document.querySelectorAll('tbody tr').length === {runs}"
        curves = (
            f"{rows} && [...document.querySelectorAll('.curve polyline')].every(each => each.getAttribute('points'))"
        )
        charts = "prorl.charts.size > 10 && [...prorl.charts.values()].every(each => each.plot)"
        compared = ",".join(keys[:8])
        several = (
            f"{charts} && prorl.charts.get('Reward').chart.series.every(each => each.values.some(v => v !== null))"
        )
        for what, path, drawn in (
            ("list, first time", "/", curves),
            ("list again", "/", curves),
            ("a run, first time", f"/run/{keys[-1]}", charts),
            ("a run again", f"/run/{keys[-1]}", charts),
            ("8 runs compared", f"/compare?runs={compared}", several),
            ("8 runs again", f"/compare?runs={compared}", several),
        ):
            before = sum(process.cpu_times()[:2])
            times = painted(browser, address + path, drawn)
            cost = sum(process.cpu_times()[:2]) - before
            print(f"{what:18} first paint {times['paint']:5.0f} ms, with numbers {times['numbers']:5.0f} ms, "
                  f"whole {times['whole']:5.0f} ms; server: {cost:.2f} s of a core, "
                  f"{process.memory_info().rss / 2**20:.0f} MiB")  # fmt: skip
        for key in keys:
            painted(browser, f"{address}/run/{key}", charts)
        print(f"all {runs} runs opened: {process.memory_info().rss / 2**20:.0f} MiB")
        waits = seen_after(browser, f"{address}/run/{keys[0]}", written[0], steps)
        median = statistics.median(waits)
        print(f"row written to row drawn: median {median:.2f} s, longest {max(waits):.2f} s of {len(waits)}")
        watched, alone = busy(browser, f"{address}/run/{keys[0]}", process), busy(None, "", process)
        print(f"processor time while a page is open: {watched:.1f} % of a core; without: {alone:.1f} %")
        browser.close()


def busy(browser: Any | None, address: str, process: psutil.Process, seconds: float = 6.0) -> float:
    """Percent of a core that the server takes."""
    context = browser.new_context() if browser is not None else None
    if context is not None:
        page = context.new_page()
        page.goto(address)
        page.wait_for_timeout(2000)
    times = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    if context is not None:
        context.close()
    return 100 * (after.user + after.system - times.user - times.system) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the live page.")
    parser.add_argument("--runs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=5000, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        measure(Path(root), options.runs, options.steps)


if __name__ == "__main__":
    main()
