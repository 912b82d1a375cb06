"""Every impossible combination stops with the key, the numbers and what would work."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.settings import compose_settings, model_directory, run_config, unchecked_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prorl_mega.config.keys import setting_keys
from prorl_mega.config.schedule import StageConfig
from prorl_mega.config.schema import RunConfig, TaskConfig, TasksConfig, WarmstartConfig
from prorl_mega.config.validate import validate, validate_warmstart
from prorl_mega.errors import ConfigError, ModelError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("validate") / "model")


@pytest.fixture(scope="module")
def demo(model: Path) -> RunConfig:
    return unchecked_config(model)


def test_every_number_has_bounds() -> None:
    """A new number in the schema that nobody thought about fails here."""
    kinds = {kind for schema in (RunConfig, WarmstartConfig) for kind in setting_keys(schema).values()}
    classes = {kind for kind in kinds if dataclasses.is_dataclass(kind)} | {TaskConfig, StageConfig}
    for schema in (RunConfig, WarmstartConfig, *classes):
        for field in dataclasses.fields(schema):
            assert ("bounds" in field.metadata) == (field.type in ("int", "float", "int | None")), (schema, field.name)


@pytest.mark.parametrize(
    ("world_size", "overrides", "message"),
    [
        (1, ["recipe.prompts_per_step=10", "recipe.prompts_per_update=4"], r"prompts_per_step=10 .*=4; .* 1, 2, 5, 10"),
        (1, ["parallel.tensor=2"], r"tensor=2 .* = 2 does not divide the 1 rank of this job; .*multiple of 2"),
        (8, ["parallel.tensor=2", "parallel.pipeline=3"], r"= 6 does not divide the 8 ranks.*2×4"),
        (4, ["rollout.tensor=3"], r"rollout\.tensor=3 does not divide the 4 ranks of this job; these work: 1, 2, 4"),
        (1, ["parallel.sequence=true"], r"parallel\.sequence=true .*parallel\.tensor of 2 or more"),
        (4, ["parallel.expert=3"], r"expert=3 × parallel\.expert_tensor=1 does not divide the 4 ranks .*2×1, 4×1, 1×2"),
        (2, ["parallel.expert=2"], r"parallel\.expert=2: the model has no experts; 1 works"),
        (
            2,
            ["parallel.expert=2", "optimizer.kind=muon"],
            r"optimizer\.kind=muon: experts .* need optimizer\.kind=adamw",
        ),
        (2, ["parallel.expert_tensor=2", "optimizer.kind=sgd"], r"optimizer\.kind=sgd: experts that are cut"),
        (3, ["parallel.tensor=3"], r"parallel\.tensor=3 does not divide.*key/value heads \(2\).*1, 2"),
        (5, ["parallel.pipeline=5"], r"parallel\.pipeline=5 does not divide.*28 layers"),
        (8, ["rollout.tensor=8"], r"rollout\.tensor=8 does not divide the model's attention heads"),
        (1, ["schedule.save_every=0"], r"schedule\.save_every=0 must be at least 1"),
        (1, ["schedule.save_every=4", "schedule.keep_every=10"], r"keep_every=10 is not a multiple .*=4: .*12 works"),
        (1, ["recipe.samples_per_prompt=1"], r"samples_per_prompt=1: grpo.* 2 or more"),
        (32, ["recipe.prompts_per_update=1"], r"=1 × .*=16 = 16 sequences .* 32 .*prompts_per_update of 2 or more"),
        (
            1,
            [
                "rollout.max_prompt_tokens=128",
                "rollout.max_response_tokens=9000",
                "parallel.max_tokens_per_microbatch=8192",
            ],
            r"128 .* = 9128 is more than parallel\.max_tokens_per_microbatch=8192",
        ),
        (
            1,
            [
                "rollout.max_prompt_tokens=128",
                "rollout.max_response_tokens=131000",
                "parallel.max_tokens_per_microbatch=200000",
            ],
            r"= 131128 is more than the model's context \(131072 positions\); max_response_tokens of at most 130944",
        ),
        (1, ["schedule.reset.every=5"], r"reset\.every=5 is less than .*min_distance=10; min_distance of at most 5"),
        (1, ["schedule.alarms.half_life=20"], r"alarms\.half_life=20 is not below past_half_life=20"),
        (1, ["schedule.alarms.disputed.above=1"], r"alarms\.disputed\.above=1 is never exceeded .*action=ignore"),
        (1, ["schedule.alarms.still=0"], r"schedule\.alarms\.still=0 must be more than 0 and at most 1"),
        (
            1,
            ["+tasks.second_opinions.options.addition.style=short"],
            r"second_opinions\.options\.addition: the entry has no second verifier; .*verifiers\.addition=own",
        ),
        (
            1,
            ["+tasks.second_opinions.verifiers.sums=code"],
            r"second_opinions\.verifiers\.sums: the mixture has no such entry; it has addition, chain_sum",
        ),
        (1, ["schedule.reset.patience=2", "schedule.evaluate_every=0"], r"patience=2 counts evaluations"),
        (1, ["name='../up'"], r"name='\.\./up' becomes a directory"),
        (1, ["name='a b'"], r"name='a b' becomes a directory"),
        (1, ["name='-rf'"], r"name='-rf' becomes a directory"),
        (1, ["cluster.partition='x\ny'"], r"cluster\.partition='x\\ny' goes to sbatch"),
        (
            1,
            ["recipe.policy_loss.clip_low=1.5"],
            r"recipe\.policy_loss\.clip_low=1\.5 must be more than 0 and at most 1",
        ),
        (1, ["recipe.policy_loss.clip_high=0"], r"recipe\.policy_loss\.clip_high=0 must be more than 0"),
        (1, ["recipe.kl.coef=nan"], r"recipe\.kl\.coef=nan must be at least 0"),
        (1, ["optimizer.learning_rate=inf"], r"optimizer\.learning_rate=inf must be"),
        (1, ["seed=-1"], r"seed=-1 must be at least 0"),
        (
            1,
            ["tasks=arithmetic", "tasks.mixture.arithmetic.weight=0"],
            r"tasks\.mixture: every weight is 0",
        ),
        (
            1,
            ["tasks=demo", "tasks.mixture.reverse.weight=-1"],
            r"reverse\.weight=-1 must be at least 0",
        ),
    ],
)
def test_impossible_settings(world_size: int, overrides: list[str], message: str, model: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(model, *overrides, world_size=world_size)


@pytest.mark.parametrize(
    ("world_size", "overrides"),
    [
        (1, []),
        (2, ["parallel=tp2", "parallel.max_tokens_per_microbatch=4096"]),
        (8, ["parallel=tp2_pp2", "rollout.tensor=4"]),
        (7, ["parallel.pipeline=7"]),
        (256, []),
        (1, ["tasks=demo", "tasks.mixture.reverse.weight=0"]),
    ],
)
def test_possible_settings(world_size: int, overrides: list[str], model: Path) -> None:
    config = run_config(model, *overrides, world_size=world_size)
    assert world_size % (config.parallel.tensor * config.parallel.pipeline) == 0


def test_all_mistakes_are_told_at_once(model: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run_config(model, "seed=-1", "recipe.policy_loss.clip_low=2", "recipe.samples_per_prompt=1")
    assert str(caught.value).startswith("3 settings cannot work:")
    assert all(key in str(caught.value) for key in ("seed=-1", "clip_low=2", "samples_per_prompt=1"))


def test_empty_mixture(model: Path) -> None:
    config = dataclasses.replace(unchecked_config(model), tasks=TasksConfig())
    with pytest.raises(ConfigError, match=r"tasks\.mixture is empty"):
        validate(config, 1)


def test_model_directory_problems(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        run_config(tmp_path / "absent")
    directory = model_directory(tmp_path / "model")
    with pytest.raises(ModelError, match=r"has neither model\.safetensors"):
        run_config(directory, "model.weights=pretrained")
    (directory / "config.json").write_text('{"architectures": ["Qwen2For')
    with pytest.raises(ModelError, match=re.escape(str(directory / "config.json"))):
        run_config(directory)


def test_chat_settings_fit_the_template(tmp_path: Path) -> None:
    directory = model_directory(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"model\.chat\.arguments is for a chat template, and .* has none"):
        run_config(directory, "+model.chat.arguments.enable_thinking=false")
    template = directory / "chat_template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{{ enable_thinking }}{% endfor %}")
    chat = run_config(
        directory, "+model.chat.arguments.enable_thinking=false", "model.chat.today=2025-01-01"
    ).model.chat
    assert (chat.arguments, chat.today, chat.system) == ({"enable_thinking": False}, "2025-01-01", None)
    with pytest.raises(ConfigError, match=r"arguments\.thinking: .* does not read it; it reads enable_thinking"):
        run_config(directory, "+model.chat.arguments.thinking=false")
    with pytest.raises(ConfigError, match=r"model\.chat\.today='soon' is not a date"):
        run_config(directory, "model.chat.today=soon")
    template.write_text("{% for m in messages %}")
    with pytest.raises(ModelError, match=r"chat template is broken, line 1"):
        run_config(directory)


def test_warmstart_settings(model: Path) -> None:
    def config(*overrides: str) -> WarmstartConfig:
        from prorl_mega.config.compose import to_objects

        base = ["output=x", f"model.path={model}"]
        return to_objects(compose_settings(*base, *overrides, schema=WarmstartConfig), WarmstartConfig)

    validate_warmstart(config(), 1)
    for overrides, message in {
        ("max_tokens=20000",): r"max_tokens=20000 is more than parallel\.max_tokens_per_microbatch=16384",
        ("steps=0",): r"steps=0 must be at least 1",
        ("parallel.tensor=2",): r"does not divide the 1 rank",
        ("max_tokens=140000", "parallel.max_tokens_per_microbatch=200000"): r"context of the model \(131072",
    }.items():
        with pytest.raises(ConfigError, match=message):
            validate_warmstart(config(*overrides), 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_number_crashes_validation(demo: RunConfig, data: st.DataObject) -> None:
    """Any number anywhere either passes or ends in a ConfigError; nothing divides by zero or loops for ever."""
    config = copy.deepcopy(demo)
    key = data.draw(
        st.sampled_from(sorted(key for key, kind in setting_keys(RunConfig).items() if kind in (int, float)))
    )
    kind: Callable[..., st.SearchStrategy] = st.floats if setting_keys(RunConfig)[key] is float else st.integers
    value = data.draw(kind() if kind is st.floats else st.integers(-3, 10**12))
    *branches, last = key.split(".")
    owner = config
    for branch in branches:
        owner = getattr(owner, branch)
    setattr(owner, last, value)
    with contextlib.suppress(ConfigError):
        validate(config, data.draw(st.integers(1, 64)))
