# Environment of every rank, sourced by train.sbatch. Source it in your shell before a sweep (hydra/launcher=slurm): the
# jobs of a sweep inherit the environment of the shell that submits them. Change it for your cluster; keep each reason.
# shellcheck shell=bash

# The project's interpreter first, so that `python` means the same on every node. Submit from the checkout.
export PATH="${SLURM_SUBMIT_DIR:-$PWD}/.venv/bin:$PATH"

# One process per GPU shares a node with its neighbours: as many CPU threads as Slurm gave to a task, not all cores.
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# Since Slurm 22.05 srun no longer inherits --cpus-per-task from the batch job; this variable hands it on.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

# Write console lines at once; a killed job must not take its last lines with it.
export PYTHONUNBUFFERED=1

# Compute nodes often have no way out, and a run must not depend on one: models are read from local directories.
export HF_HUB_OFFLINE=1

# Inference engines report usage over the network unless told not to.
export VLLM_NO_USAGE_STATS=1

# Compiled kernels are kept per node: thousands of small files are slow on a shared file system, and ranks race there.
TRITON_CACHE_DIR="${TMPDIR:-/tmp}/triton-$(id -u)"
TORCHINDUCTOR_CACHE_DIR="${TMPDIR:-/tmp}/inductor-$(id -u)"
export TRITON_CACHE_DIR TORCHINDUCTOR_CACHE_DIR

# Megatron's tensor parallelism overlaps communication with computation only if kernels are launched in order.
export CUDA_DEVICE_MAX_CONNECTIONS=1

# No PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True here: vLLM's sleep mode refuses to work with it.

# An error in a collective ends the rank at once instead of at the watchdog's time-out.
export TORCH_NCCL_ASYNC_ERROR_HANDLING=1

# Which interface NCCL and gloo use is a fact of your cluster; without it they take the first that is up, for example:
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0 NCCL_IB_HCA=mlx5
