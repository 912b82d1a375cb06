"""The settings under `recipe`, the method. Every group has the formulas and sources in the file of its name.

The files are those of `prorl_mega/recipe/`: `advantage.py`, `policy_loss.py`, `loss.py`, `kl.py` and so on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum

from prorl_mega.config.bounds import bounded


class AdvantageEstimator(StrEnum):
    grpo = "grpo"
    dr_grpo = "dr_grpo"
    rloo = "rloo"
    reinforce_pp = "reinforce_pp"
    reinforce_pp_baseline = "reinforce_pp_baseline"


class GroupStd(Enum):
    sample = "sample"  # over n - 1
    population = "population"  # over n


class BatchMoments(Enum):
    """The unit that counts once in the mean and the standard deviation of a batch."""

    sample = "sample"
    token = "token"


class PolicyLossKind(StrEnum):
    ppo_clip = "ppo_clip"
    dual_clip = "dual_clip"
    cispo = "cispo"
    gspo = "gspo"


class LossAggregation(Enum):
    token_mean = "token_mean"
    sequence_mean = "sequence_mean"
    fixed_length = "fixed_length"  # mean over sequences of sums over tokens / loss.fixed_length (Dr. GRPO)


class KLEstimator(Enum):
    k1 = "k1"
    k2 = "k2"
    k3 = "k3"
    exact_reverse = "exact_reverse"  # over the vocabulary; one more forward pass of the reference per update
    exact_forward = "exact_forward"

    @property
    def exact(self) -> bool:
        """Whether it is computed over the vocabulary instead of from the sampled token."""
        return self in (KLEstimator.exact_reverse, KLEstimator.exact_forward)


class KLPlacement(Enum):
    loss = "loss"
    reward = "reward"


class ImportanceSamplingKind(Enum):
    auto = "auto"  # none in fp32, tis in bf16; with rollout.staleness of 1 or more tis, for gspo mis
    none = "none"
    tis = "tis"
    icepop = "icepop"
    sequence_mask = "sequence_mask"
    mis = "mis"


class TerminationPenalty(Enum):
    """The change to the reward of an answer that was truncated at the response limit."""

    none = "none"
    scale = "scale"  # × termination_scale
    fixed = "fixed"  # = termination_reward


class CurriculumUnit(Enum):
    none = "none"
    entry = "entry"  # of tasks.mixture
    problem = "problem"


@dataclass(kw_only=True, slots=True)
class AdvantageConfig:
    """The estimator of advantages from the rewards of a step."""

    estimator: str = "grpo"  # an AdvantageEstimator, or one of your own: "my_file.py:function"
    group_std: GroupStd = GroupStd.sample  # of grpo
    batch_moments: BatchMoments = BatchMoments.sample  # of reinforce_pp and reinforce_pp_baseline
    positive_weight: float = bounded(
        1.0, ge=0
    )  # factor of advantages above 0; below 1 keeps entropy up, above lowers it


@dataclass(kw_only=True, slots=True)
class PolicyLossConfig:
    """The surrogate objective and its clip: ratios count between 1 - clip_low and 1 + clip_high."""

    kind: str = "ppo_clip"  # a PolicyLossKind, or one of your own: "my_file.py:function"
    clip_low: float = bounded(0.2, gt=0, le=1)
    clip_high: float = bounded(0.4, gt=0)
    dual_clip: float = bounded(3.0, gt=1)  # of dual_clip: largest ratio that counts when the advantage is negative
    force_on_policy: bool = False  # the ratio is 1 by construction; needs one update per step
    clip_cov: float = bounded(
        0.0, ge=0, le=1
    )  # share of a step's tokens, of high covariance, without gradient; 0: none
    clip_cov_low: float = bounded(1.0)  # covariance of log-probability and advantage from which a token may be drawn,
    clip_cov_high: float = bounded(5.0)  # and up to which


@dataclass(kw_only=True, slots=True)
class LossConfig:
    """The aggregation of token losses to one number."""

    aggregation: LossAggregation = LossAggregation.token_mean
    fixed_length: int = bounded(8192, ge=1)  # tokens; of fixed_length, usually rollout.max_response_tokens
    entropy_coef: float = bounded(0.0, ge=0)


@dataclass(kw_only=True, slots=True)
class KLConfig:
    """The penalty on the distance from the reference policy."""

    coef: float = bounded(1e-4, ge=0)  # 0: no penalty, and the KL is not measured
    estimator: KLEstimator = KLEstimator.k3
    placement: KLPlacement = KLPlacement.loss
    clamp: float = bounded(10.0, gt=0, le=88)  # on |log-ratio| inside the estimator; exp(89) is no float32
    output_clamp: float = bounded(0.0, ge=0)  # on the absolute value per token; 0: none


@dataclass(kw_only=True, slots=True)
class SelectionConfig:
    """Which groups of samples are trained on, and how often prompts are drawn again for those that are not."""

    dynamic_sampling: bool = True  # draw again for prompts whose samples all got the same reward
    oversampling: float = bounded(1.0, ge=1)  # × prompts_per_step in the first round; more where many groups drop out
    max_sampling_rounds: int = bounded(10, ge=1)  # per step, which then continues with the groups it has
    min_groups_fraction: float = bounded(0.25, gt=0, le=1)  # of prompts_per_step; fewer usable groups stop the run
    pass_rate_min: float = bounded(0.0, ge=0, le=1)  # groups with a mean verdict outside this band are left out as well
    pass_rate_max: float = bounded(1.0, ge=0, le=1)
    keep_uniform_groups: bool = False  # train on groups without spread too; needs dynamic_sampling=false


@dataclass(kw_only=True, slots=True)
class ShapingConfig:
    """Reward shaping: changes to verdicts before advantages. Selection uses verdicts."""

    termination: TerminationPenalty = TerminationPenalty.none
    termination_scale: float = bounded(0.0, ge=0, le=1)
    termination_reward: float = bounded(-0.5, le=0)
    overlong_filtering: bool = False  # truncated answers count in the baseline but are not trained on
    overlong_buffer: int = bounded(0, ge=0)  # tokens before the limit in which the penalty grows (DAPO); 0: none
    overlong_factor: float = bounded(1.0, ge=0)  # penalty at the limit
    length_weight: float = bounded(0.0, ge=0)  # λ of the cosine length penalty; 0: none
    length_reward_min: float = bounded(-1.0)  # η at the response limit
    length_reward_max: float = bounded(0.0)  # η of an empty answer
    length_on_steps: int = bounded(100, ge=1)  # the length penalty is on for so many steps, beginning with the first,
    length_off_steps: int = bounded(500, ge=0)  # and then off for so many; 0: always on


@dataclass(kw_only=True, slots=True)
class ImportanceSamplingConfig:
    """Weights for the gap between the log-probabilities of the rollout engine and of the learner."""

    kind: ImportanceSamplingKind = ImportanceSamplingKind.auto
    floor: float = bounded(0.0, ge=0, le=1)  # bounds of the ratio learner / rollout: of a token, of an answer or
    cap: float = bounded(2.0, ge=1)  # of its mean token
    report_bound: float = bounded(2.0, gt=1)  # tokens with a ratio outside [1/it, it] count in sampler/beyond_bound


@dataclass(kw_only=True, slots=True)
class CurriculumConfig:
    """Draws problems that the policy always or never solves more rarely."""

    by: CurriculumUnit = CurriculumUnit.none
    memory: float = bounded(0.9, ge=0, lt=1)  # of the running pass rate: weight of its old value at a new group
    low: float = bounded(0.05, ge=0, le=1)  # running pass rates outside [low, high] are drawn more rarely
    high: float = bounded(0.95, ge=0, le=1)
    rarely: float = bounded(0.1, gt=0, le=1)  # share of those that is drawn nevertheless, so that a change is noticed
    min_groups: int = bounded(2, ge=1)  # seen before the running pass rate is used
    weigh_entries: bool = False  # multiply the weights of tasks.mixture by w(p) of `mixture_weights.py`
    weight_floor: float = bounded(0.2, gt=0, le=1)  # of w(p), so that no entry leaves the mixture


@dataclass(kw_only=True, slots=True)
class RecipeConfig:
    """The method: what is sampled, what is kept and what is optimised."""

    prompts_per_step: int = bounded(256, ge=1)
    samples_per_prompt: int = bounded(16, ge=1)
    prompts_per_update: int = bounded(64, ge=1)  # optimizer steps per step = prompts_per_step / prompts_per_update
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    shaping: ShapingConfig = field(default_factory=ShapingConfig)
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    policy_loss: PolicyLossConfig = field(default_factory=PolicyLossConfig)
    importance_sampling: ImportanceSamplingConfig = field(default_factory=ImportanceSamplingConfig)
    kl: KLConfig = field(default_factory=KLConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
