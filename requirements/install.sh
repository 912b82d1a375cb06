#!/usr/bin/env bash
# Makes .venv hold exactly what requirements/<variant>.lock names, and this project. Called by `make setup` with the Python
# to build it from and the variant, cpu or gpu. One line per phase; a phase that fails shows the end of its output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage='usage: requirements/install.sh <python> cpu|gpu'
python=${1:?"$usage"}
variant=${2:?"$usage"}
lock=requirements/$variant.lock
[[ $variant == cpu || $variant == gpu ]] || { printf 'setup: VARIANT=%s: cpu or gpu\n' "$variant" >&2 && exit 2; }
log=.venv/setup.log

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

phase() {
    local title=$1
    shift
    printf 'setup: %s ... ' "$title"
    local began=$SECONDS
    if "$@" >>"$log" 2>&1; then
        printf '%ds\n' $((SECONDS - began))
    else
        printf 'failed\n'
        return 1
    fi
}

must() {
    phase "$@" || {
        tail -n 25 "$log" >&2
        fail "'$1' failed; the whole output is in $log"
    }
}

pip() {
    .venv/bin/python -m pip --disable-pip-version-check --no-input "$@" --progress-bar off --no-warn-script-location
}

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    fail "'$python' does not run; install Python 3.11, or name one with: make setup PYTHON=/path/to/python3.11"
[[ $version == 3.11 ]] ||
    fail "$python is Python $version, and the pins in $lock are for 3.11: make setup PYTHON=/path/to/python3.11"

if [[ ! -x .venv/bin/python ]]; then
    printf 'setup: virtual environment .venv from %s\n' "$python"
    "$python" -m venv .venv || fail "no virtual environment; on Debian and Ubuntu: apt-get install python3.11-venv"
fi
: >"$log"

cpu() {
    # PyPI's torch for Linux is the CUDA build. The CPU build comes from PyTorch's own index, or from the configured one
    # (PIP_FIND_LINKS, a mirror) where that cannot be reached.
    local torch
    torch=$(grep '^torch==' "$lock")
    if ! .venv/bin/python -c "import torch; assert 'torch==' + torch.__version__.split('+')[0] == '$torch'" 2>/dev/null; then
        phase "$torch for CPUs, from PyTorch's index" \
            pip install --no-deps --retries 0 --timeout 10 --index-url https://download.pytorch.org/whl/cpu "$torch" ||
            must "$torch, from the configured index" pip install --no-deps "$torch"
    fi
    must "$(grep -c == "$lock") packages of $lock (minutes, the first time)" pip install --no-deps -r "$lock"
}

gpu() { # with dependencies: the CUDA libraries and the Triton that torch asks for
    must "$(grep -c == "$lock") packages of $lock and CUDA's libraries (many minutes, the first time)" \
        pip install -r "$lock" -r requirements/dev.lock
}

"$variant"
must "this project" pip install --no-deps --no-build-isolation --editable .

if [[ $variant == gpu ]] && ! .venv/bin/python -c 'import torch; assert torch.version.cuda' >>"$log" 2>&1; then
    built=$(.venv/bin/python -c 'import torch; print(torch.__version__)' 2>>"$log" || echo none)
    fail "this needs torch with CUDA, and torch $built is installed: probably a CPU wheel from PIP_FIND_LINKS or a mirror.
       Take that away, then: rm -r .venv; make setup VARIANT=gpu"
fi
if ! .venv/bin/python -c 'import torch; torch.ones(2).sum().item()' >>"$log" 2>&1; then
    tail -n 1 "$log" >&2
    [[ $variant == gpu ]] && fail "torch does not work; the whole output is in $log"
    fail "torch does not work: probably the CUDA build from PyPI, without its libraries. Put the CPU wheel of torch
       (https://download.pytorch.org/whl/cpu) into a directory, then: rm -r .venv; PIP_FIND_LINKS=<directory> make setup"
fi
printf '%s\n' "$variant" >.venv/.variant
