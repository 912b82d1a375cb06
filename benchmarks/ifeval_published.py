"""The published checker's verdicts about answers. Runs in an environment of its own; see `ifeval_agreement.py`.

Arguments: a file with lines {"kind": ..., "kwargs": {...}, "answer": ...}, and the file for the verdicts: a line
[strict, loose] for each. The seed of langdetect is the third argument.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def published() -> tuple[ModuleType, bool]:
    """The module with the two functions, and whether it is google-research's, which takes answers by prompt.

    The harness is imported without its own `__init__`, which needs torch.
    """
    if importlib.util.find_spec("instruction_following_eval"):
        return importlib.import_module("instruction_following_eval.evaluation_lib"), True
    found = importlib.machinery.PathFinder.find_spec("lm_eval")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("neither instruction_following_eval nor lm_eval is installed here")
    for name in ("lm_eval", "lm_eval.tasks", "lm_eval.tasks.ifeval"):
        package = ModuleType(name)
        package.__path__ = [str(Path(each, *name.split(".")[1:])) for each in found.submodule_search_locations]
        sys.modules[name] = package
    return importlib.import_module("lm_eval.tasks.ifeval.utils"), False


def main(cases: Path, result: Path, seed: int) -> None:
    from langdetect import DetectorFactory

    logging.disable()  # it reports every text without letters
    module, by_prompt = published()
    with result.open("w", encoding="utf-8") as file:
        for line in cases.read_text(encoding="utf-8").splitlines():
            case: dict[str, Any] = json.loads(line)
            example = module.InputExample(0, [case["kind"]], "the prompt", [case["kwargs"]])
            given = {"the prompt": case["answer"]} if by_prompt else case["answer"]
            verdicts = []
            for judge in (module.test_instruction_following_strict, module.test_instruction_following_loose):
                DetectorFactory.seed = seed
                verdicts.append(judge(example, given).follow_all_instructions)
            file.write(json.dumps(verdicts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
