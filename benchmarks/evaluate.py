"""`python -m prorl_mega.evaluate` against bare vLLM: the same model, prompts, samples and limits, one after the other.

    python benchmarks/evaluate.py --model runs/base --problems 16 --samples 64 --repeats 3

Bare vLLM is `LLM.generate` in a process of its own, with prompts as token ids, which neither keeps nor judges anything.
Ours is the whole command: sampled, judged by real verifiers, every answer on disk, the results summarised. Printed are,
per repeat and as medians, the time from the start of the process to the first answer, tokens per second from there to
the end, tokens per second of processor time of all processes from there to the end, which says more on a machine that
does other things as well, the most memory of all processes together (proportional set size), the load, and ours as a
share of bare vLLM.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

BARE = """
import json, sys, time
import numpy as np
arguments = json.loads(sys.argv[1])
report = open(arguments["report"], "w", buffering=1)
from vllm import LLM, SamplingParams
llm = LLM(
    arguments["model"], dtype="float32", enforce_eager=True, max_num_seqs=arguments["concurrent"],
    max_model_len=arguments["length"], kv_cache_memory_bytes=1 << 30, enable_chunked_prefill=False,
    max_num_batched_tokens=8192, generation_config="vllm", disable_log_stats=True,
)
prompts, seeds = json.load(open(arguments["prompts"]))
params = [
    SamplingParams(
        temperature=arguments["temperature"], top_p=arguments["top_p"], max_tokens=arguments["limit"], seed=seed
    )
    for row in seeds for seed in row
]
requests = [{"prompt_token_ids": prompt} for prompt, row in zip(prompts, seeds) for _ in row]
first = llm.generate(requests[:1], params[:1], use_tqdm=False)
print(json.dumps({"first": time.time()}), file=report)
outputs = llm.generate(requests, params, use_tqdm=False)
tokens = sum(len(each.outputs[0].token_ids) for each in outputs)
print(json.dumps({"end": time.time(), "tokens": tokens}), file=report)
"""
TEMPERATURE, TOP_P = 1.0, 1.0


class Row(NamedTuple):
    """One measurement."""

    first: float  # seconds to the first answer
    speed: float  # tokens per second from there to the end
    lean: float  # tokens per second of processor time, likewise
    memory: float  # MiB


class Watched(NamedTuple):
    """A command that has run."""

    first: float  # seconds until its file had a line
    ended: float  # the time
    processor_s: float  # of all its processes, from the first line on
    memory: float  # most MiB of all its processes
    output: str


def watched(command: list[str], environment: dict[str, str], file: Path) -> Watched:
    """Run a command, which writes a first line to `file`, or its output there."""
    started, most, seen, used = time.time(), 0.0, 0.0, 0.0
    before = processor_time()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        me = psutil.Process(process.pid)
        looked = 0.0
        while process.poll() is None:
            if not seen and file.exists() and file.stat().st_size:
                seen = time.time() - started
                used = sum(sum(each.cpu_times()[:2]) for each in [me, *me.children(recursive=True)])
            if time.time() - looked > 0.5:
                looked, total = time.time(), 0
                for each in [me, *me.children(recursive=True)]:
                    try:
                        total += each.memory_full_info().pss
                    except psutil.Error:
                        continue
                most = max(most, total / 2**20)
            time.sleep(0.02)
        ended = time.time()
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)[:200]} ended with {process.returncode}:\n{text[-3000:]}")
    return Watched(seen, ended, processor_time() - before - used, most, text)


def processor_time() -> float:
    """Seconds of user and system time of all processes that this one has waited for, and of those that they have."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(options: argparse.Namespace, root: Path, number: int) -> Row:
    store = root / f"ours{number}" / "evaluation" / "policy"
    command = [
        sys.executable, "-m", "prorl_mega.evaluate", f"experiment={options.experiment}", f"model.path={options.model}",
        f"root={root}", f"name=ours{number}", f"evaluation.samples={options.samples}",
        f"evaluation.final_problems_per_task={options.problems}", f"evaluation.temperature={TEMPERATURE}",
        f"evaluation.top_p={TOP_P}", f"rollout.max_concurrent={options.concurrent}",
    ]  # fmt: skip
    started = time.time()
    ran = watched(command, dict(os.environ), store / "samples" / "0.jsonl")
    ended = store.with_suffix(".json").stat().st_mtime
    tokens = json.loads(store.with_suffix(".json").read_text())["metrics"]["evaluation/tokens"]
    return Row(ran.first, tokens / (ended - started - ran.first), tokens / ran.processor_s, ran.memory)


def bare(options: argparse.Namespace, root: Path) -> Row:
    store = root / "ours0" / "evaluation" / "policy"
    settings = json.loads((store / "header.json").read_text())["config"]["rollout"]
    prompts = [json.loads(line)["prompt_tokens"] for line in (store / "problems.jsonl").read_text().splitlines()]
    seeds: list[list[int]] = [[0] * options.samples for _ in prompts]
    for line in (store / "samples" / "0.jsonl").read_text().splitlines():
        sample = json.loads(line)
        seeds[sample["problem"]][sample["sample"]] = sample["seed"]
    (root / "prompts.json").write_text(json.dumps([prompts, seeds]))
    report = root / "bare.json"
    report.unlink(missing_ok=True)
    arguments = {
        "model": options.model, "prompts": str(root / "prompts.json"), "report": str(report),
        "limit": settings["max_response_tokens"],
        "length": settings["max_prompt_tokens"] + settings["max_response_tokens"], "concurrent": options.concurrent,
        "temperature": TEMPERATURE, "top_p": TOP_P,
    }  # fmt: skip
    quiet = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip
    started = time.time()
    ran = watched([sys.executable, "-c", BARE, json.dumps(arguments)], os.environ | quiet, report)
    first, found = (json.loads(line) for line in report.read_text().splitlines())
    speed = found["tokens"] / (found["end"] - first["first"])
    return Row(first["first"] - started, speed, found["tokens"] / ran.processor_s, ran.memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/base")
    parser.add_argument("--experiment", default="demo", help="whose tasks and lengths are used")
    parser.add_argument("--problems", type=int, default=16, help="per task")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--concurrent", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, list[Row]] = {"ours": [], "bare vLLM": []}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(options.repeats):
            rows["ours"].append(ours(options, Path(directory), number))
            rows["bare vLLM"].append(bare(options, Path(directory)))
            for name, measured in rows.items():
                first, speed, lean, memory = measured[-1]
                print(
                    f"{name:>10}: first answer {first:5.1f} s  {speed:8.0f} tokens/s  {lean:8.0f} per processor second"
                    f"  {memory:6.0f} MiB  load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
    medians = {name: Row(*map(statistics.median, zip(*measured, strict=True))) for name, measured in rows.items()}
    ratios = [one / other for one, other in zip(medians["ours"], medians["bare vLLM"], strict=True)]
    print(f"    medians: {medians}")
    print(
        "ours / bare: first answer {:.2f}, tokens per second {:.2f}, per processor second {:.2f}, memory {:.2f}".format(
            *ratios
        )
    )


if __name__ == "__main__":
    main()
