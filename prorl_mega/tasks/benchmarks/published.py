r"""The benchmarks of ProRL that are data sets (arXiv 2505.24864, section 4), by name.

Minerva's answers, numbers such as 1.6e3 with and without units, are judged by the task `stem`: of 261 public references
with a model's answers, `math` refuses 30 that it accepts, mostly 1.6 \times 10^3 for 1.6e3, and accepts one more.

Prompts are the rows' texts with the request for a box that the paper prints (appendix D), and for programs with our own
for a fenced block. Time limits are ours: the paper gives none for evaluations.
"""

from __future__ import annotations

from typing import Any

from prorl_mega.data.canonical import Domain
from prorl_mega.tasks.benchmarks.benchmark import Benchmark

BOX = "\n\nLet's think step by step and output the final answer within \\boxed{}."
_BOXED: dict[str, Any] = {"suffix": BOX}
_SOME: dict[str, Any] = {"suffix": BOX, "skip": 0.02}  # large sets have rows that no judge can use; they are counted
_PROGRAM: dict[str, Any] = {"scoring": "all", "max_tests": 100_000, "time_s": 6.0, "total_s": 120.0}
_PROGRAMS: dict[str, Any] = _PROGRAM | {"skip": 0.1}
PRIME = "PRIME-RL/Eurus-2-RL-Data"
PRIME_FILES = ("eurus2_rl_data", "eurus2_rl", "eurus2", "eurus_2_validation", "prime", "prime_validation")
PRIME_SPLIT = "validation"

_MATH = (
    Benchmark(name="aime24", domain=Domain.math, task="math", options=_BOXED, rows=(30,),
              files=("aime_2024", "aime"), source="HuggingFaceH4/aime_2024, or math-ai/aime24"),
    Benchmark(name="aime25", domain=Domain.math, task="math", options=_BOXED, rows=(30,),
              files=("aime_2025",), source="math-ai/aime25, or MathArena/aime_2025"),
    Benchmark(name="amc", domain=Domain.math, task="math", options=_BOXED, rows=(83, 40),
              files=("amc23", "amc_2023", "aimo_validation_amc"), source="AI-MO/aimo-validation-amc (2022 and 2023)"),
    Benchmark(name="math500", domain=Domain.math, task="math", options=_BOXED, rows=(500,),
              files=("math_500",), source="HuggingFaceH4/MATH-500"),
    Benchmark(name="math", domain=Domain.math, task="math", options=_SOME, rows=(5000,),
              files=("hendrycks_math", "competition_math"), source="EleutherAI/hendrycks_math (test)"),
    Benchmark(name="minerva", domain=Domain.math, task="stem", options=_SOME, rows=(272,),
              files=("minerva_math", "minervamath"), source="math-ai/minervamath"),
    Benchmark(name="olympiadbench", domain=Domain.math, task="math", options=_SOME, rows=(674, 675),
              files=("olympiad", "olympiad_bench"), source="Hothan/OlympiadBench (OE_TO_maths_en_COMP)"),
)  # fmt: skip

_CODE = (
    Benchmark(name="apps", domain=Domain.code, task="code", options=_PROGRAMS, rows=(5000,), source_name="apps",
              source=f"{PRIME} (validation, its rows of APPS); the whole set: codeparrot/apps (test)"),
    Benchmark(name="codecontests", domain=Domain.code, task="code", options=_PROGRAMS, rows=(165, 117),
              files=("code_contests",), source_name="codecontests",
              source=f"{PRIME} (validation, its rows of CodeContests); the whole set: deepmind/code_contests (test)"),
    Benchmark(name="codeforces", domain=Domain.code, task="code", options=_PROGRAMS, source_name="codeforces",
              source=f"{PRIME} (validation, its rows of MatrixStudio/Codeforces-Python-Submissions)"),
    Benchmark(name="taco", domain=Domain.code, task="code", options=_PROGRAMS, rows=(1000,), source_name="taco",
              source=f"{PRIME} (validation, its rows of TACO); the whole set: BAAI/TACO (test)"),
    Benchmark(name="humaneval_plus", domain=Domain.code, task="code", options=_PROGRAM, rows=(164,),
              files=("humanevalplus", "human_eval_plus"), source="evalplus/humanevalplus"),
    Benchmark(name="livecodebench", domain=Domain.code, task="code", options=_PROGRAMS,
              rows=(400, 511, 612, 713, 880, 1055, 279), files=("lcb", "code_generation_lite", "code_generation"),
              source="livecodebench/code_generation_lite (its .jsonl files; the paper names no release)"),
)  # fmt: skip

_OTHERS = (
    Benchmark(name="gpqa_diamond", domain=Domain.stem, task="stem", options=_BOXED, rows=(198,), files=("gpqa",),
              split="train", source="Idavidrein/gpqa (gpqa_diamond), or spawn99/GPQA-diamond-ClaudeR1, the paper's"),
    Benchmark(name="ifeval", domain=Domain.instruction, task="ifeval", rows=(541,), split="train",
              options={"checker": "official_strict", "reward": "fraction"}, source="google/IFEval"),
)  # fmt: skip

PUBLISHED: dict[str, Benchmark] = {each.name: each for each in (*_MATH, *_CODE, *_OTHERS)}
MATH, CODE = tuple(each.name for each in _MATH), tuple(each.name for each in _CODE)
