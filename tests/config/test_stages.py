"""What stages may set, what they inherit, and the sentences for what they may not."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from helpers.settings import model_directory, run_config
from hydra.errors import HydraException

from prorl_mega.config.messages import explain
from prorl_mega.config.schema import RunConfig
from prorl_mega.config.stages import longest_response, stage_settings
from prorl_mega.errors import ConfigError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("stages") / "model")


def test_without_stages_there_are_the_settings_of_the_run(model: Path) -> None:
    config = run_config(model)
    assert stage_settings(config) == [config]
    assert stage_settings(config)[0] is config


def test_a_stage_inherits_from_the_one_before(model: Path) -> None:
    config = run_config(
        model,
        "schedule.stages=[{steps: 5, recipe: {kl: {coef: 0.5}, shaping: {termination: scale}}},"
        "{steps: 5, rollout: {max_response_tokens: 50}, tasks: {mixture: {reverse: {weight: 0}}}},"
        "{recipe: {kl: {coef: 0.25}}, optimizer: {learning_rate: 1}, tasks: {mixture: {reverse: {weight: 2}}}}]",
    )
    seen = [
        (
            each.recipe.kl.coef,
            each.recipe.shaping.termination.name,
            each.rollout.max_response_tokens,
            each.optimizer.learning_rate,
            each.tasks.mixture["reverse"].weight,
        )
        for each in stage_settings(config)
    ]
    assert seen == [
        (0.5, "scale", 64, 2e-4, 1.0),
        (0.5, "scale", 50, 2e-4, 0.0),
        (0.25, "scale", 50, 1.0, 2.0),
    ]
    assert config.recipe.kl.coef == 1e-4, "the settings of the run stay as they are"


def test_an_engine_is_built_for_the_longest_answers(model: Path) -> None:
    stages = "schedule.stages=[{steps: 5, rollout: {max_response_tokens: 50}},{rollout: {max_response_tokens: 99}}]"
    staged, plain = run_config(model, stages), run_config(model)
    assert longest_response(staged, stage_settings(staged)) == 99
    assert longest_response(plain, stage_settings(plain)) == 64


def test_learning_rate_by_the_root_of_the_batch(model: Path) -> None:
    config = run_config(
        model,
        "schedule.stages=[{steps: 5, recipe: {samples_per_prompt: 64}},"
        "{steps: 5, sqrt_batch: true}, {sqrt_batch: true, recipe: {samples_per_prompt: 4}}]",
    )
    rates = [each.optimizer.learning_rate for each in stage_settings(config)]
    assert rates == pytest.approx([2e-4, 2e-4 * 2, 2e-4 / 2]), "in proportion to the run's, not to the last stage's"
    assert math.isclose(rates[1] / rates[0], math.sqrt(64 / 16))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            "[{steps: 5}, {recipe: {kl: {coeff: 1}}}]",
            r"schedule\.stages\[1\]\.recipe\.kl\.coeff: no such setting; did you",
        ),
        ("[{recipe: {kl: {coef: much}}}]", r"schedule\.stages\[0\]\.recipe\.kl\.coef: .*'much'.*is a number"),
        (
            "[{recipe: {advantage: {estimator: grpoo}}}]",
            r"schedule\.stages\[0\]\.recipe\.advantage\.estimator=grpoo: no such advantage; did you mean grpo\?",
        ),
        (
            "[{recipe: {policy_loss: {clip_low: 2}}}]",
            r"schedule\.stages\[0\]\.recipe\.policy_loss\.clip_low=2 must be more than 0 and at most 1",
        ),
        ("[{recipe: {prompts_per_update: 5}}]", r"stages\[0\]\.recipe\.prompts_per_step=32 is not a multiple"),
        ("[{recipe: {samples_per_prompt: 1}}]", r"stages\[0\]\.recipe\.samples_per_prompt=1: .* 2 or more"),
        ("[{recipe: {curriculum: {by: entry}}}]", r"stages\[0\]\.recipe\.curriculum\.by cannot change while a run"),
        ("[{rollout: {tensor: 2}}]", r"stages\[0\]\.rollout\.tensor cannot change .* rollout\.max_response_tokens"),
        ("[{rollout: {max_response_tokens: 4000}}]", r"stages\[0\]\.rollout\.max_prompt_tokens=64 \+ .*=2048; a seq"),
        ("[{optimizer: {beta1: 0.5}}]", r"stages\[0\]\.optimizer\.beta1 cannot change .* optimizer\.learning_rate"),
        ("[{tasks: {workers: 5}}]", r"stages\[0\]\.tasks\.workers cannot change .* a stage may set tasks\.mixture"),
        (
            "[{tasks: {mixture: {sums: {weight: 1}}}}]",
            r"tasks\.mixture\.sums\.weight: .*no such entry; it has addition",
        ),
        ("[{tasks: {mixture: {addition: {name: x}}}}]", r"stages\[0\]\.tasks\.mixture\.addition\.name cannot change"),
        ("[{tasks: {mixture: {addition: {weight: -1}}}}]", r"addition\.weight=-1 must be a number of at least 0"),
        (
            "[{tasks: {mixture: {addition: {weight: 0}, chain_sum: {weight: 0}, reverse: {weight: 0}, "
            "instruction: {weight: 0}}}}]",
            r"stages\[0\]\.tasks\.mixture: every weight is 0",
        ),
        ("[{steps: 5}, {}, {}]", r"schedule\.stages\[1\]\.steps=0 would never end; give it steps, or until=trigger"),
        ("[{steps: -1}]", r"schedule\.stages\[0\]\.steps=-1 must be at least 0"),
        ("[{sqrt_batch: true, optimizer: {learning_rate: 1}}]", r"stages\[0\]\.sqrt_batch=true computes the learning"),
    ],
)
def test_impossible_stages(stages: str, message: str, model: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(model, f"schedule.stages={stages}")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[{stepps: 5}]", r"schedule\.stages: stepps: no such setting; did you mean steps\?"),
        ("[{until: never}]", r"schedule\.stages: until=never: These work: steps, trigger"),
        ("[{steps: x}]", r"schedule\.stages: steps: .*'x'.*; steps is a whole number"),
    ],
)
def test_stages_that_do_not_compose(stages: str, message: str, model: Path) -> None:
    with pytest.raises(HydraException) as caught:
        run_config(model, f"schedule.stages={stages}")
    assert re.match(message, explain(caught.value, RunConfig))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule.reset.every=0", "schedule.stages=[{until: trigger}, {}]"], r"until=trigger waits for a trigger"),
        (["schedule.reset.every=0", "schedule.reset.futile=1"], r"reset\.futile=1 waits for a trigger of a reset"),
        (["schedule.reset.decline=0.1", "schedule.evaluate_every=0"], r"reset\.decline=0\.1 counts evaluations"),
        (["schedule.reset.to=best", "schedule.evaluate_every=0"], r"reset\.to=best counts evaluations.*to=policy"),
        (["schedule.reset.kl_bound=0.1", "recipe.kl.coef=0"], r"kl_bound=0\.1 looks at the KL, which is not measured"),
        (["schedule.kl.target=0.1", "schedule.stages=[{recipe: {kl: {coef: 0}}}]"], r"kl\.target=0\.1 looks at the KL"),
        (["schedule.entropy.low=2", "schedule.entropy.high=1"], r"entropy\.high=1 is not above .*low=2"),
        (
            ["schedule.entropy.low=1", "schedule.entropy.high=2", "schedule.entropy.margin=0.6"],
            r"margin=0\.6 leaves no room between low=1 and high=2; at most 0\.5 works",
        ),
        (["schedule.entropy.target=1"], r"entropy\.target=1 needs .*proportional or integral above 0"),
        (["schedule.entropy.target=1", "schedule.entropy.integral=1"], r"knob_max=0 must be more than knob_min=0"),
        (
            ["schedule.entropy.target=1", "schedule.entropy.integral=1", "schedule.entropy.low=2"],
            r"target=1 is outside of the band from low=2 to high=0",
        ),
        (
            ["schedule.entropy.target=1", "schedule.entropy.integral=1", "schedule.entropy.knob=kl_coef"],
            r"knob=kl_coef pulls entropy to that of the reference from both sides, and cannot follow a target",
        ),
        (
            [
                "schedule.entropy.target=1",
                "schedule.entropy.integral=1",
                "schedule.entropy.knob=positive_weight",
                "schedule.entropy.knob_min=-1",
            ],
            r"knob_min=-1 must be at least 0 for positive_weight",
        ),
        (
            [
                "schedule.entropy.target=1",
                "schedule.entropy.integral=1",
                "schedule.entropy.knob=clip_high",
                "recipe.prompts_per_update=32",
                "recipe.prompts_per_step=32",
            ],
            r"knob=clip_high moves nothing where a step is one update",
        ),
        (["schedule.entropy.on_low=adjust"], r"knob_step=0 moves nothing; adjust needs more than 0"),
        (
            ["schedule.entropy.on_low=adjust", "schedule.entropy.knob=temperature", "schedule.entropy.knob_step=0.1"],
            r"knob_min=0 must be more than 0 for temperature",
        ),
        (
            ["schedule.entropy.on_high=adjust", "schedule.entropy.knob=clip_high", "schedule.entropy.knob_max=0.1"],
            r"knob_min=0 and knob_max=0\.1 must enclose clip_high=0\.4, where the knob starts",
        ),
        (
            [
                "schedule.entropy.on_low=adjust",
                "schedule.entropy.knob_step=1",
                "schedule.entropy.target=1",
                "schedule.entropy.integral=1",
            ],
            r"target=1 and the action adjust both move entropy_coef; use one: on_low and on_high may be",
        ),
        (
            ["schedule.entropy.on_low=adjust", "schedule.entropy.knob=kl_coef", "schedule.kl.target=1"],
            r"knob=kl_coef and schedule\.kl\.target both move recipe\.kl\.coef",
        ),
    ],
)
def test_controllers_that_cannot_work(overrides: list[str], message: str, model: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(model, *overrides)


def test_a_reference_of_another_architecture(model: Path, tmp_path: Path) -> None:
    other = model_directory(tmp_path / "other", num_hidden_layers=14)
    (other / "model.safetensors").touch()
    with pytest.raises(ConfigError, match=r"reference\.path=.* policy's architecture: layers is 14, not 28"):
        run_config(model, f"reference.path={other}")
    with pytest.raises(ConfigError, match="no such directory"):
        run_config(model, f"reference.path={tmp_path / 'absent'}")
