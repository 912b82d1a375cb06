#!/usr/bin/env bash
# Builds, checks and measures everything that needs a GPU, in less than ten minutes, from a bare machine: a CUDA device,
# Python with torch >= 2.11, Triton >= 3.6 and pytest, and no network. Nothing is installed outside a temporary folder.
#
#     benchmarks/gpu.sh [--dry-run] [--wheels FOLDER] [--python PYTHON] OUTPUT
#
# FOLDER holds wheels (*.whl) of peers and of what else is missing. Results are at most eight files in OUTPUT: summary.txt,
# a log of each part, the CSV and, with matplotlib, two pictures. Each part has its own time limit, and one that fails does not keep the others from
# running. Without a CUDA device, or with --dry-run, GPU tests are only collected and one small case is measured.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

usage() {
    printf 'usage: benchmarks/gpu.sh [--dry-run] [--wheels FOLDER] [--python PYTHON] OUTPUT\n' >&2
    exit 2
}

python=python3
[[ -x .venv/bin/python ]] && python=.venv/bin/python
dry=no wheels="" output=""
while (($#)); do
    case $1 in
    --dry-run) dry=yes ;;
    --wheels) wheels=${2:?"--wheels needs a folder"} && shift ;;
    --python) python=${2:?"--python needs a program"} && shift ;;
    -*) usage ;;
    *) [[ -z $output ]] || usage && output=$1 ;;
    esac
    shift
done
[[ -n $output ]] || usage
mkdir -p "$output" || exit 2
output=$(cd "$output" && pwd)
summary=$output/summary.txt
: >"$summary"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/packages" "$work/wheels"
ln -s "$PWD/kernels" "$work/packages/prorl_kernels"
printf 'import site\nsite.addsitedir("%s")\n' "$work/wheels" >"$work/packages/sitecustomize.py" # runs the wheels' .pth files
export PYTHONPATH=$work/packages:$PWD:$work/wheels TRITON_CACHE_DIR=$work/triton TORCHINDUCTOR_CACHE_DIR=$work/inductor
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1

say() {
    printf '%s\n' "$*" | tee -a "$summary"
}

failed=()
# part NAME SECONDS COMMAND...: runs it with a time limit; its output goes to NAME.log, of which the end is kept.
part() {
    local name=$1 limit=$2 began=$SECONDS status
    shift 2
    timeout --kill-after=10 "$limit" "$@" >"$work/log" 2>&1
    status=$?
    [[ -s $work/log ]] && tail -c 200000 "$work/log" >"$output/$name.log"
    case $status in
    0) say "$name: ok, $((SECONDS - began)) s" ;;
    124 | 137) say "$name: stopped at its limit of $limit s" ;;
    *) say "$name: failed with status $status after $((SECONDS - began)) s" ;;
    esac
    if ((status)); then
        failed+=("$name")
        tail -n 6 "$work/log" | cut -c1-200
    fi
}

# unpack WHEEL...: by pip, or where that fails (one wheel of another Python is enough) one by one.
unpack() {
    local wheel status=0
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/wheels" "$@" && return
    for wheel in "$@"; do
        "$python" -m zipfile -e "$wheel" "$work/wheels" || status=1
    done
    return "$status"
}

tests() {
    "$python" -m pytest -q -p no:cacheprovider --durations=5 "$@"
}

has() {
    "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2>/dev/null
}

environment() {
    nvidia-smi 2>/dev/null
    "$python" - <<'END'
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

print("python", platform.python_version(), "on", platform.platform())
for name in ("torch", "triton", "megatron-core", "pytest", "liger-kernel", "nvidia-cutlass-dsl", "cut-cross-entropy",
             "quack-kernels", "verl", "trl"):
    try:
        print(name, version(name))
    except PackageNotFoundError:
        print(name, "is missing")
if torch.cuda.is_available():
    print("CUDA", torch.version.cuda, torch.cuda.get_device_properties(0))
END
    command -v gcc cc clang || echo "no C compiler: Triton needs one"
}
export -f unpack tests environment
export python work

began=$SECONDS
"$python" -c 'import torch' 2>/dev/null || {
    say "$python has no torch; name another with --python"
    exit 2
}
if [[ $dry == no ]] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    say "no CUDA device: dry run"
    dry=yes
fi
if [[ -n $wheels ]]; then
    part wheels 40 bash -c 'unpack "$@"' unpack "$wheels"/*.whl
fi
part environment 30 bash -c environment
cat "$output/environment.log" >>"$summary" && rm "$output/environment.log"
has pytest || say "pytest is missing: put its wheel and those of iniconfig and pluggy into --wheels"

if [[ $dry == yes ]]; then
    part correctness 120 bash -c 'tests --collect-only tests/gpu/test_kernels_gpu.py'
    part benchmark 300 "$python" -m prorl_kernels.benchmarks --grid tiny --seconds 0 --output "$output"
else
    part correctness 140 bash -c 'tests -m gpu tests/gpu/test_kernels_gpu.py'
    part benchmark 260 "$python" -m prorl_kernels.benchmarks --grid gpu --seconds 210 --output "$output"
    part tiles 60 bash -c 'tests tests/kernels/interpreted' # the interpreter's tests, compiled
fi
if ! has megatron.core; then
    say "learner: left out, megatron-core is missing"
elif [[ $dry == yes ]]; then
    part learner 120 bash -c 'tests --collect-only tests/gpu/test_learner_gpu.py'
else
    part learner 60 bash -c 'tests -m gpu tests/gpu/test_learner_gpu.py'
fi

[[ -f $output/benchmark.log ]] && grep -E 'tokens, (forward|logprob|entropy|kl), |^prorl|^bare' "$output/benchmark.log" | cut -c1-130 | head -n 40
say "$((SECONDS - began)) s; results in $output${failed:+; failed: ${failed[*]}}"
exit $((${#failed[@]} > 0))
