"""Composition: what users can type, what they can mistype, and what reaches the program."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import TOKENIZER
from helpers.settings import compose_settings, model_directory, run_config
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from prorl_mega import train
from prorl_mega.config.compose import config_directory, run_hydra, sweep_name, swept_keys, to_config, to_objects
from prorl_mega.config.messages import explain
from prorl_mega.config.recipe import AdvantageEstimator, ImportanceSamplingKind, KLEstimator
from prorl_mega.config.schema import RunConfig, WarmstartConfig
from prorl_mega.config.stages import stage_settings
from prorl_mega.config.swept_runs import noted_runs
from prorl_mega.errors import ConfigError, ExitCode
from prorl_mega.tasks import Mixture

DATA_FILES = Path(__file__).parents[1] / "data" / "files"
CONFIGS = config_directory()
EXPERIMENTS = sorted(file.stem for file in (CONFIGS / "experiment").glob("*.yaml"))
GROUPS = sorted(
    str(file.relative_to(CONFIGS).with_suffix(""))
    for file in CONFIGS.glob("*/*.yaml")
    if file.parent.name not in ("experiment", "hydra")
)
PROGRAM = """
import logging, sys
from prorl_mega.config.compose import run_hydra
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ExitCode, RolloutError

def main(config: RunConfig) -> ExitCode:
    assert not {"torch", "megatron", "vllm"} & set(sys.modules), "composition imported the stack"
    if config.seed == 7:
        raise RolloutError("the engine broke")
    if config.seed == 10:
        return ExitCode.SAVED_AFTER_SIGNAL
    logging.getLogger("a library").info("chatter of a library")
    print("ran", config.name, config.seed, repr(config.recipe.kl.coef), type(config.recipe.kl.estimator).__name__)
    return ExitCode.FINISHED

if __name__ == "__main__":
    run_hydra(main, RunConfig)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_directory(tmp_path / "model")


def start(tmp_path: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run a program that only composes, from a directory that is not the checkout."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, str(program), *overrides], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )


def schema_of(experiment: str) -> type:
    """Experiments for the warm start name the directory that it writes; those for training have a name."""
    text = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text()
    return WarmstartConfig if "\noutput:" in text else RunConfig


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_validates_and_round_trips(experiment: str, model: Path) -> None:
    schema = schema_of(experiment)
    settings = compose_settings(f"experiment={experiment}", "model=random", f"model.path={model}", schema=schema)
    if settings.model.chat.system is not None:
        (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    ranks = 32 if "1p5b" in experiment else 1
    config = to_config(settings, schema, ranks)
    text = OmegaConf.to_yaml(settings, resolve=True)
    again = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(text))
    assert isinstance(again, DictConfig)
    assert to_objects(again, schema) == config


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_file_composes_by_itself(group: str) -> None:
    name, option = group.split("/")
    schemas = [RunConfig] if name in RunConfig.__dataclass_fields__ else []
    assert schemas, f"configs/{group}.yaml is in a group that no settings class has"
    settings = compose_settings(f"{name}={option}", "name=x", "model.path=x")
    assert to_objects(settings, RunConfig).name == "x"


@pytest.mark.parametrize("group", GROUPS)
def test_group_files_change_only_their_own_branch(group: str) -> None:
    name, option = group.split("/")
    before = compose_settings("name=x", "model.path=x")
    after = compose_settings(f"{name}={option}", "name=x", "model.path=x")
    assert {key for key in before if before[key] != after[key]} <= {name}


@pytest.mark.parametrize("option", sorted(file.stem for file in (CONFIGS / "tasks").glob("*.yaml")))
def test_every_task_file_names_tasks_and_options_that_exist(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = to_objects(compose_settings(f"tasks={option}", "name=x", "model.path=x"), RunConfig)
    for entry in config.tasks.mixture.values():
        if "path" in entry.options:  # a few rows of that schema, some of them broken, where the data are expected
            place = tmp_path / entry.options["path"]
            place.mkdir(parents=True)
            (file,) = DATA_FILES.glob(f"{entry.options['schema'].removesuffix('_code')}.*")
            shutil.copy(file, place)
            entry.options["skip"] = 0.95
    config.tasks.modules = [str(Path(module).resolve()) for module in config.tasks.modules]  # before the folder changes
    monkeypatch.chdir(tmp_path)
    problems = Mixture(config.tasks, seed=1).draw(2 * len(config.tasks.mixture))
    assert {problem.key.split("/")[0] for problem in problems} <= set(config.tasks.mixture)


def test_paper_values_of_prorl_v1(model: Path) -> None:
    settings = compose_settings("experiment=prorl_v1_1p5b", "model=random", f"model.path={model}")
    config = to_config(settings, RunConfig, 32)
    recipe = config.recipe
    assert (recipe.prompts_per_step, recipe.samples_per_prompt, recipe.prompts_per_update) == (256, 16, 64)
    assert (recipe.policy_loss.clip_low, recipe.policy_loss.clip_high, recipe.kl.coef, recipe.kl.estimator) == (
        0.2,
        0.4,
        1e-4,
        KLEstimator.k3,
    )
    assert (config.rollout.temperature, config.rollout.max_response_tokens) == (1.2, 8192)
    assert (config.optimizer.learning_rate, config.optimizer.warmup_steps) == (2e-6, 0)
    assert (config.cluster.nodes, config.cluster.ranks_per_node) == (4, 8)
    assert [stage.steps for stage in config.schedule.stages] == [564, 340, 138, 435, 210, 256, 307, 161]
    assert config.schedule.steps == sum(stage.steps for stage in config.schedule.stages)
    assert config.schedule.reset.clear_optimizer


def test_published_values_of_prorl_v2(model: Path) -> None:
    settings = compose_settings("experiment=prorl_v2_1p5b", "model=random", f"model.path={model}")
    config = to_config(settings, RunConfig, 32)
    recipe, reset = config.recipe, config.schedule.reset
    assert (recipe.prompts_per_step, recipe.samples_per_prompt, recipe.prompts_per_update) == (512, 16, 64)
    assert recipe.advantage.estimator == AdvantageEstimator.reinforce_pp_baseline
    assert (recipe.policy_loss.clip_low, recipe.policy_loss.clip_high) == (0.2, 0.28)
    assert (recipe.kl.coef, recipe.kl.estimator, recipe.kl.clamp) == (1e-4, KLEstimator.k2, 10.0)
    assert (recipe.importance_sampling.kind, recipe.importance_sampling.floor, recipe.importance_sampling.cap) == (
        ImportanceSamplingKind.icepop,
        0.5,
        5.0,
    )
    assert (recipe.shaping.length_on_steps, recipe.shaping.length_off_steps) == (100, 500)
    assert config.optimizer.learning_rate == 1e-6
    assert 200 <= reset.every <= 500
    assert not reset.clear_optimizer


def test_published_values_of_brorl(model: Path) -> None:
    settings = compose_settings("experiment=brorl_1p5b", "model=random", f"model.path={model}")
    (stage,) = stage_settings(to_config(settings, RunConfig, 64))
    recipe = stage.recipe
    assert (recipe.prompts_per_step, recipe.samples_per_prompt) == (128, 512)
    assert recipe.prompts_per_step // recipe.prompts_per_update == 8
    assert stage.optimizer.learning_rate == pytest.approx(2.83e-6, rel=1e-3)
    assert stage.rollout.max_response_tokens == 16384
    assert (recipe.importance_sampling.kind, recipe.importance_sampling.cap) == (ImportanceSamplingKind.tis, 2.0)


@pytest.mark.parametrize(("cluster", "ranks"), [("h100_4x8", 32), ("h100_8x8", 64)])
@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if "1p5b" in name])
def test_experiments_fit_both_clusters(experiment: str, cluster: str, ranks: int, model: Path) -> None:
    overrides = [f"experiment={experiment}", f"cluster={cluster}", "model=random", f"model.path={model}"]
    config = to_config(compose_settings(*overrides), RunConfig, ranks)
    assert config.cluster.nodes * config.cluster.ranks_per_node == ranks


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["recipe.kl_cof=1"], r"recipe\.kl_cof: no such setting; did you mean recipe\.kl\.coef"),
        (["steps=3"], r"steps: no such setting; did you mean .*schedule\.steps"),
        (["recip.kl_coef=1"], r"recip: no such setting; did you mean recipe"),
        (["+recipe.kl_cof=1"], r"recipe\.kl_cof: no such setting; did you mean recipe\.kl\.coef"),
        (["recipe.kl.estimator=k33"], r"recipe\.kl\.estimator=k33: did you mean k3\? These work: k1, k2, k3"),
        (
            ["recipe.policy_loss.kind=gsop"],
            r"no such policy loss; did you mean gspo\?; it is one of cispo, .*path/to",
        ),
        (["recipe.advantage.estimator=nowhere.py:f"], r"recipe\.advantage\.estimator: .*nowhere\.py: no such file"),
        (["optimizer.kind=moun"], r"no such optimizer; did you mean muon\?; it is one of adamw, muon, sgd, or yours"),
        (["model.weights=randm"], r"did you mean random\? These work: pretrained, random"),
        (["seed=1.5"], r"seed: .*'1\.5'.*; seed is a whole number"),
        (["recipe.kl.coef=abc"], r"recipe\.kl\.coef: .*'abc'.*; recipe\.kl\.coef is a number"),
        (["parallel.sequence=maybe"], r"parallel\.sequence: .*'maybe'.*is true or false"),
        (["experiment=dmeo"], r"configs/experiment/dmeo\.yaml does not exist; did you mean demo\?"),
        (["recipe=prorl_v9"], r"did you mean prorl_v2\? These work: cispo, .*, prorl_v1, prorl_v2"),
        (["+recipe=grpo"], r"recipe has a choice already; replace it with recipe=<option>"),
        (["recipe.kl.coef=[1"], r"recipe\.kl\.coef=\[1: not a valid override .*quotes"),
        (["recipe.kl.coef=${nowhere}"], r"recipe\.kl\.coef: Interpolation key 'nowhere' not found"),
        (
            ["tasks.mixture.addition.options.columns={}"],
            r"yet; one more is added with '\+': \+tasks\.mixture\.addition\.options",
        ),
        (["+tasks.mixture.nope.options.path=a"], r"tasks\.mixture\.nope: the mixture has no such entry.*configs/tasks"),
        (["tasks.mixture.nope.weight=2"], r"tasks\.mixture\.nope.*: the mixture has no such entry.*configs/tasks"),
        (["model.path=???"], r"model\.path is required and has no value.*model\.path=\.\.\."),
        (["rollout.temperature=0"], r"rollout\.temperature=0 must be more than 0 and at most 10"),
        (["seed=null"], r"^error: seed=null: it cannot be empty; seed is a whole number"),
        (["resume=null"], r"resume=null: it cannot be empty; these work: auto, never"),
        (["recipe.kl=null"], r"recipe\.kl=null: it cannot be empty; leave it out, or give it a value"),
        (["loggers=null"], r"loggers=null: it cannot be empty; loggers=\[\] has nothing in it"),
        (["loggers=[null]"], r"loggers\[0\]=null: it cannot be empty"),
        (["tasks.mixture=null"], r"tasks\.mixture=null: it cannot be empty; tasks\.mixture=\{\} has nothing in it"),
        (["schedule.stages=[null]"], r"schedule\.stages\[0\]=null: it cannot be empty"),
        (["rollout=null"], r"rollout=null: rollout is chosen by the name of a file, or left out; .*tiny"),
        (["experiment=null"], r"experiment=null: experiment is chosen by the name of a file"),
        (["recipe={kl: 3}"], r"recipe=\{kl: 3\}: recipe is chosen by the name of a file"),
        (["recipe.kl.clamp=89"], r"recipe\.kl\.clamp=89 must be more than 0 and at most 88"),
        (["rollout.max_concurrent=1000000000"], r"max_concurrent=1000000000 must be at least 1 and at most 8192"),
        (["schedule.steps=3000000000"], r"schedule\.steps=3000000000 must be at least 1 and at most 2147483647"),
        (["optimizer.learning_rate=1e31"], r"learning_rate=1e\+31 must be more than 0 and at most 1e\+30"),
        (["recipe.shaping.length_reward_min=-1e31"], r"length_reward_min=-1e\+31 must be at least -1e\+30"),
    ],
)
def test_mistakes_end_with_one_helpful_line(
    overrides: list[str],
    message: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(config: RunConfig) -> ExitCode:
        raise AssertionError(f"started {config}")

    base = ["experiment=demo", "model=random", f"model.path={model}"]
    base = [entry for entry in base if entry.partition("=")[0] not in {o.partition("=")[0] for o in overrides}]
    monkeypatch.setattr(sys, "argv", ["program", *base, *overrides])
    with pytest.raises(SystemExit) as stopped:
        run_hydra(main, RunConfig)
    printed = capsys.readouterr()
    assert stopped.value.code == ExitCode.CONFIG
    assert re.search(message, printed.err), printed.err
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


def test_mistake_in_a_file_names_the_file(tmp_path: Path, model: Path) -> None:
    group = tmp_path / "more" / "experiment"
    group.mkdir(parents=True)
    (group / "mine.yaml").write_text("# @package _global_\nrecipe:\n  clip_hihg: 0.3\n")
    done = start(tmp_path, f"hydra.searchpath=[file://{tmp_path / 'more'}]", "experiment=mine", f"model.path={model}")
    assert done.returncode == ExitCode.CONFIG
    assert (
        "experiment/mine.yaml: recipe.clip_hihg: no such setting; did you mean recipe.policy_loss.clip_high"
        in done.stderr
    )


def test_a_run_gets_objects_and_leaves_nothing_behind(tmp_path: Path, model: Path) -> None:
    done = start(tmp_path, "experiment=demo", "model=random", f"model.path={model}", "recipe.kl.coef=1e-3")
    assert (done.returncode, done.stdout) == (0, "ran demo 1 0.001 KLEstimator\n"), done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model", "program.py"]


def test_exit_codes_of_the_program_reach_the_shell(tmp_path: Path, model: Path) -> None:
    base = ["experiment=demo", "model=random", f"model.path={model}"]
    broken = start(tmp_path, *base, "seed=7")
    assert (broken.returncode, broken.stderr) == (ExitCode.ROLLOUT, "error: the engine broke\n")
    mistaken = start(tmp_path, *base, "recipe.kl_cof=1")
    assert mistaken.returncode == ExitCode.CONFIG
    assert len(mistaken.stderr.splitlines()) == 1
    assert start(tmp_path, *base, "seed=10").returncode == ExitCode.SAVED_AFTER_SIGNAL


def test_cfg_job_prints_settings(tmp_path: Path) -> None:
    done = start(tmp_path, "experiment=demo", "recipe.kl.coef=1e-3", "--cfg", "job")
    assert done.returncode == 0
    assert OmegaConf.create(done.stdout).recipe.kl.coef == 1e-3


def test_sweep_jobs_have_directories_of_their_own(tmp_path: Path, model: Path) -> None:
    base = ["experiment=demo", "model=random", f"model.path={model}"]
    done = start(tmp_path, "-m", *base, "seed=1,2")
    assert done.returncode == 0, done.stderr
    assert "Launching 2 jobs" in done.stdout
    assert "chatter" not in done.stdout + done.stderr
    names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ran")]
    assert names == ["demo--seed_1", "demo--seed_2"]
    (sweep,) = (tmp_path / "multirun").rglob("runs.jsonl")
    assert [run.name for run in noted_runs(sweep.parent)] == names
    interval = start(tmp_path, "-m", *base, "recipe.kl.coef=interval(0,1)")
    assert interval.returncode == ExitCode.CONFIG
    assert "interval() is for a search: add hydra/sweeper=optuna" in interval.stderr


def test_a_sweep_goes_on_after_a_job_that_fails(tmp_path: Path, model: Path) -> None:
    base = ["experiment=demo", "model=random", f"model.path={model}"]
    failed = start(tmp_path, *base, "-m", "seed=7,1")  # the flag between overrides, too
    assert failed.returncode == ExitCode.ROLLOUT
    assert "Traceback" not in failed.stderr
    assert "error: name=demo--seed_7 failed with exit code 24; the sweep goes on" in failed.stderr
    assert "ran demo--seed_1 1" in failed.stdout
    assert failed.stderr.endswith("error: 1 of 2 jobs of the sweep failed (exit code): name=demo--seed_7 (24)\n")


def test_a_sweep_ends_with_a_job_that_was_told_to_stop(tmp_path: Path, model: Path) -> None:
    stopped = start(tmp_path, "-m", "experiment=demo", "model=random", f"model.path={model}", "seed=10,1")
    assert stopped.returncode == ExitCode.SAVED_AFTER_SIGNAL
    assert "the sweep stops, name=demo--seed_10 was told to" in stopped.stderr
    assert "\nran " not in stopped.stdout


def test_swept_keys() -> None:
    arguments = [
        "-m",
        "a.b=1,2",
        "+c=range(3)",
        "recipe=grpo,prorl_v1",
        "d=[1,2]",
        "e='1,2'",
        "f=3",
        "g=[1,",
        "--x=1,2",
    ]
    assert swept_keys(arguments) == {"a.b", "c", "recipe"}


def test_sweep_names() -> None:
    assert sweep_name("demo", ["experiment=demo", "seed=2", "recipe.kl.coef=1e-3"]) == "demo--seed_2--kl_coef_1e-3"
    assert sweep_name("runs/base", ["output=x"]) == "runs/base"
    hostile = [
        sweep_name("demo", [f"model.path={value}"]) for value in ("a b", "a-b", "a/b", "../../x", "$(x)", "a\nb")
    ]
    assert len(set(hostile)) == len(hostile)
    long = [sweep_name("demo", [f"model.path={'x' * 300}{n}"]) for n in range(2)]
    assert len(set(long)) == 2
    for name in hostile + long:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", name)


def test_installed_package_finds_its_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "prorl_mega"
    (package / "configs").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr("prorl_mega.__file__", str(package / "__init__.py"))
    with pytest.raises(ConfigError, match="install the project again"):
        config_directory()
    (package / "configs" / "train.yaml").touch()
    assert config_directory() == package / "configs"


def test_plan_needs_no_torch_and_prints_derived_numbers(model: Path) -> None:
    program = "import sys, runpy; sys.modules['torch'] = None; runpy.run_module('prorl_mega.plan', run_name='__main__')"
    shutil.copyfile(TOKENIZER / "tokenizer.json", model / "tokenizer.json")
    shutil.copyfile(TOKENIZER / "tokenizer_config.json", model / "tokenizer_config.json")
    arguments = ["experiment=prorl_v1_1p5b", "model=random", f"model.path={model}", "parallel=tp2"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ranks: 32 = tensor 2 × pipeline 1 × data 16" in done.stdout
    assert "samples per step: 4,096" in done.stdout
    assert "updates per step: 4 of 1,024" in done.stdout
    assert "1,777.0 M parameters" in done.stdout


def test_run_config_helper_is_what_programs_get(model: Path) -> None:
    assert run_config(model, "seed=3").seed == 3


def test_help_begins_with_what_the_program_is_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--help"])
    with pytest.raises(SystemExit) as stopped:
        run_hydra(train.main, RunConfig)
    assert stopped.value.code == ExitCode.FINISHED
    printed = capsys.readouterr().out
    assert printed.startswith("Prolonged reinforcement learning")
    assert "experiment: " in printed


def test_a_setting_is_not_taken_away() -> None:
    with pytest.raises(HydraException) as caught:
        compose_settings("~evaluation.top_p")
    assert explain(caught.value, RunConfig) == (
        "evaluation.top_p: a setting cannot be taken away with '~'; give it another value"
    )
