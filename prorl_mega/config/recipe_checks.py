"""Settings under `recipe` that contradict each other, with what would work. Part of `prorl_mega.config.validate`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from prorl_mega.config.recipe import (
    AdvantageEstimator,
    CurriculumConfig,
    ImportanceSamplingConfig,
    ImportanceSamplingKind,
    KLConfig,
    KLPlacement,
    PolicyLossKind,
    RecipeConfig,
    SelectionConfig,
    ShapingConfig,
    TerminationPenalty,
)
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ConfigError
from prorl_mega.plugins import resolve

_COMPARING = set(AdvantageEstimator) - {AdvantageEstimator.reinforce_pp}
_TOKEN_FACTORS = (ImportanceSamplingKind.tis, ImportanceSamplingKind.icepop, ImportanceSamplingKind.sequence_mask)


def recipe_problems(config: RunConfig) -> list[str]:
    """One sentence for each contradiction."""
    recipe = config.recipe
    return [
        *known_or_own(recipe.policy_loss.kind, PolicyLossKind, "policy loss", "recipe.policy_loss.kind"),
        *known_or_own(recipe.advantage.estimator, AdvantageEstimator, "advantage", "recipe.advantage.estimator"),
        *_samples(recipe),
        *_selection(recipe.selection),
        *_policy_loss(recipe),
        *_importance_sampling(recipe.importance_sampling, recipe.policy_loss.kind),
        *_kl(recipe.kl),
        *_shaping(recipe.shaping, config.rollout.max_response_tokens),
        *_curriculum(recipe.curriculum),
    ]


def known_or_own(value: str, names: type[StrEnum], what: str, key: str) -> Iterator[str]:
    """Check a name or import path; importing user code here finds its mistakes before anything is started."""
    try:
        resolve(value, {name.value: name for name in names}, what=what, key=key)
    except ConfigError as error:
        yield str(error)


def _samples(recipe: RecipeConfig) -> Iterator[str]:
    samples, estimator = recipe.samples_per_prompt, recipe.advantage.estimator
    if samples >= 2:
        return
    if estimator in _COMPARING:
        yield f"recipe.samples_per_prompt={samples}: {estimator} compares samples of one prompt; 2 or more work"
    elif not recipe.selection.keep_uniform_groups:
        yield (
            f"recipe.samples_per_prompt={samples}: one sample has no spread, so every group would be left out; set "
            "recipe.selection.keep_uniform_groups=true and recipe.selection.dynamic_sampling=false, or 2 or more "
            "samples"
        )


def _selection(selection: SelectionConfig) -> Iterator[str]:
    if selection.keep_uniform_groups and selection.dynamic_sampling:
        yield (
            "recipe.selection.keep_uniform_groups=true keeps what recipe.selection.dynamic_sampling=true draws again "
            "for; set one of them to false"
        )
    if selection.pass_rate_min >= selection.pass_rate_max:
        yield (
            f"recipe.selection.pass_rate_min={selection.pass_rate_min:g} is not below "
            f"recipe.selection.pass_rate_max={selection.pass_rate_max:g}: no group would be trained on; 0 and 1 switch "
            "the band off"
        )


def _policy_loss(recipe: RecipeConfig) -> Iterator[str]:
    policy_loss, step, update = recipe.policy_loss, recipe.prompts_per_step, recipe.prompts_per_update
    if policy_loss.force_on_policy and update < step:
        yield (
            "recipe.policy_loss.force_on_policy=true holds for the first update of a step only, and "
            f"recipe.prompts_per_step={step} with recipe.prompts_per_update={update} makes several; "
            f"prompts_per_update={step} works"
        )
    if policy_loss.clip_cov and policy_loss.clip_cov_low > policy_loss.clip_cov_high:
        yield (
            f"recipe.policy_loss.clip_cov_low={policy_loss.clip_cov_low:g} is above "
            f"clip_cov_high={policy_loss.clip_cov_high:g}: no token is drawn; the paper has 1 and 5"
        )
    if policy_loss.kind == PolicyLossKind.dual_clip and policy_loss.dual_clip <= 1 + policy_loss.clip_high:
        yield (
            f"recipe.policy_loss.dual_clip={policy_loss.dual_clip:g} is not above "
            f"1 + recipe.policy_loss.clip_high={1 + policy_loss.clip_high:g}: it bounds what the clip leaves "
            "unbounded; 3 is usual"
        )


def _importance_sampling(settings: ImportanceSamplingConfig, policy_loss: str) -> Iterator[str]:
    if policy_loss == PolicyLossKind.gspo and settings.kind in _TOKEN_FACTORS:
        yield (
            f"recipe.importance_sampling.kind={settings.kind.name} weighs single tokens and "
            "recipe.policy_loss.kind=gspo whole answers; kind=mis, none or auto (none) work with it"
        )
    if settings.floor >= settings.cap:
        yield (
            f"recipe.importance_sampling.floor={settings.floor:g} is not below "
            f"recipe.importance_sampling.cap={settings.cap:g}: every token would be outside; floor below 1 and cap "
            "above 1 keep those that agree"
        )


def _kl(kl: KLConfig) -> Iterator[str]:
    if kl.placement is KLPlacement.reward and kl.estimator.exact:
        yield (
            f"recipe.kl.estimator={kl.estimator.name} measures a distribution, and recipe.kl.placement=reward needs a "
            "price of the token that was chosen; k1, k2 or k3 work there, or placement=loss"
        )


def _shaping(shaping: ShapingConfig, limit: int) -> Iterator[str]:
    termination = None if shaping.termination is TerminationPenalty.none else shaping.termination.name
    if shaping.length_weight and shaping.overlong_buffer:
        yield (
            f"recipe.shaping.length_weight={shaping.length_weight:g} and "
            f"recipe.shaping.overlong_buffer={shaping.overlong_buffer} both punish length; one of them must be 0"
        )
    if termination and shaping.overlong_buffer:
        yield (
            f"recipe.shaping.termination={termination} and recipe.shaping.overlong_buffer={shaping.overlong_buffer} "
            "both punish truncated answers; termination=none or overlong_buffer=0"
        )
    if termination and shaping.overlong_filtering:
        yield (
            f"recipe.shaping.termination={termination} punishes answers that recipe.shaping.overlong_filtering=true "
            "does not train on; one of the two"
        )
    if shaping.overlong_buffer > limit:
        yield (
            f"recipe.shaping.overlong_buffer={shaping.overlong_buffer} is more than "
            f"rollout.max_response_tokens={limit}; at most {limit} works"
        )
    if shaping.length_reward_min > shaping.length_reward_max:
        yield (
            f"recipe.shaping.length_reward_min={shaping.length_reward_min:g} is above "
            f"recipe.shaping.length_reward_max={shaping.length_reward_max:g}: long answers would be rewarded; exchange "
            "the two"
        )


def _curriculum(curriculum: CurriculumConfig) -> Iterator[str]:
    if curriculum.low > curriculum.high:
        yield (
            f"recipe.curriculum.low={curriculum.low:g} is above recipe.curriculum.high={curriculum.high:g}: nothing "
            "would be in the band"
        )
