# `make` lists the targets. Everything runs in .venv, which `make setup` builds from requirements/cpu.lock, and
# `make setup VARIANT=gpu` from gpu.lock; later calls keep what it was built from.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
VARIANT ?= $(or $(shell cat .venv/.variant 2>/dev/null),cpu)
SOURCES := prorl_mega kernels tests benchmarks examples
WORKERS ?= 3# processes that test; each takes up to 4 GB and one thread, and waits for a third of its time
LOOP := tests/integration/test_train.py
SMOKE := $(LOOP)::test_one_process_leaves_a_complete_run_directory $(LOOP)::test_one_process_metrics tests/recipe \
	tests/evaluation tests/huggingface tests/run tests/test_architecture.py tests/test_collect.py tests/test_plugins.py
READY := .venv/.ready-$(VARIANT)-$(shell cat requirements/$(VARIANT).lock requirements/install.sh setup.py | sha256sum | cut -c1-16)

.PHONY: help setup demo view study boundary soak smollm smoke test test-slow test-faults faults-table mutants test-slurm test-gpu bench lint types format clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with exactly the pinned packages (minutes the first time, then nothing)
	@:

$(READY):
	@requirements/install.sh "$(PYTHON)" "$(VARIANT)"
	@rm -f .venv/.ready-*
	@touch $@

demo: setup runs/base/config.json ## train a tiny model by ProRL on this machine, in minutes; report in runs/demo/report.html
	@$(PY) -m prorl_mega.train experiment=demo

runs/base/config.json: | setup
	@$(PY) -m prorl_mega.warmstart experiment=demo_base

study: setup runs/base/config.json ## the method's parts switched off one by one, three seeds each: runs/study/study.md (an hour)
	@$(PY) -m prorl_mega.study examples/ablation.yaml --output runs/study

boundary: setup ## problems that the base never solved and the trained model nearly always does, with controls: runs/boundary/boundary.html (an hour)
	@$(PY) -m prorl_mega.workflow examples/boundary.yaml --output runs/boundary --jobs 2

view: setup ## all runs of runs/ in a browser, live
	@$(PY) -m prorl_mega.view runs

soak: setup runs/base/config.json ## two thousand steps with a controller that nobody helps: runs/soak/report.html (45 minutes)
	@$(PY) -m prorl_mega.train experiment=soak

smollm: setup runs/smollm2/config.json ## train a real pretrained model, SmolLM2-135M from its package, on two cores: runs/smollm/report.html
	@$(PY) -m prorl_mega.train experiment=smollm2_135m

runs/smollm2/config.json: | setup
	@$(PY) examples/smollm2.py --output runs/smollm2

smoke: setup lint ## a minute: the loop once on a small model, and the fast tests
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(WORKERS) --dist loadfile $(SMOKE)

test: setup lint types ## lint, types and all tests but those of the tiers below
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(WORKERS) --dist loadfile --durations=20 -m "not gpu and not slurm and not faults and not slow"

test-slow: setup ## tests that take long and rarely break: the GPU script, gpu.lock, bf16, real runs of tasks=logic, a study, Triton as interpreted and as compiled
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(WORKERS) -m slow tests

test-faults: setup ## the sandbox for minutes: honest programs at full load, runs without a leak; signal to exit in every phase; runs killed again and again; two hosts whose network loses packets and is cut
	@$(PY) -m pytest -q -m faults tests/sandbox tests/tasks tests/integration

faults-table: setup ## the cases of tests/fault_cases.yaml, run here and now: docs/faults.md (an hour or two)
	@OMP_NUM_THREADS=1 $(PY) tests/fault_table.py

mutants: setup ## the kernels broken on purpose, a line at a time: every mutant has to turn a test red (ten minutes)
	@$(PY) tests/kernels/mutants.py

test-slurm: setup ## the tests on a private two-node Slurm on this machine (as root; Debian's slurm-wlm and munge)
	@$(PY) -m pytest -q -m slurm tests/slurm

test-gpu: setup ## the tests that need a CUDA device
	@$(PY) -m pytest -q -m gpu

bench: setup ## measurements: one step against TRL, the kernels against torch and their peers (needs no GPU, uses one)
	@$(PY) benchmarks/trl_step.py
	@$(PY) benchmarks/sandbox.py
	@$(PY) -m pytest -q kernels/benchmarks

lint: setup ## ruff: rules and format
	@$(PY) -m ruff check --quiet $(SOURCES)
	@$(PY) -m ruff format --check --quiet $(SOURCES)

types: setup ## mypy over packages, tests and benchmarks
	@$(PY) -m mypy --no-error-summary $(SOURCES)

format: setup ## rewrite the sources as ruff wants them
	@$(PY) -m ruff check --quiet --fix $(SOURCES)
	@$(PY) -m ruff format --quiet $(SOURCES)

clean: ## remove caches and build files; keeps .venv and runs
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
