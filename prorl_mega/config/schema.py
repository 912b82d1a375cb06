"""Every setting of a run: its type, its default and what it means. Imports no torch, so that a login node can validate.

Defaults live here and nowhere else; experiments under `configs/` state differences. After composition the tree is
turned into these objects at once (`prorl_mega.config.compose`) and no `DictConfig` travels further.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from prorl_mega.config.recipe import RecipeConfig
from prorl_mega.config.schedule import ScheduleConfig


class Precision(Enum):
    auto = "auto"  # bf16 on a GPU, fp32 on a CPU
    bf16 = "bf16"
    fp32 = "fp32"


class WeightSource(Enum):
    pretrained = "pretrained"  # safetensors of `model.path`
    random = "random"  # for benchmarks and for training from nothing; only config.json is read


class Recompute(Enum):
    none = "none"
    full = "full"  # every layer is recomputed in the backward pass


class Resume(Enum):
    auto = "auto"  # the newest checkpoint that verifies, or a fresh start when there is none
    never = "never"  # refuse to start when the run directory has checkpoints


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The policy. The base model is also the first reference policy."""

    path: str = MISSING  # Hugging Face directory: config.json, *.safetensors, tokenizer
    weights: WeightSource = WeightSource.pretrained
    precision: Precision = Precision.auto
    recompute: Recompute = Recompute.none


@dataclass(kw_only=True, slots=True)
class ParallelConfig:
    """How the learner is split; data parallelism is what the number of ranks leaves over."""

    tensor: int = 1
    pipeline: int = 1
    sequence: bool = False  # shard activations between tensor-parallel ranks as well
    max_tokens_per_microbatch: int = 16384  # tokens packed into one forward pass
    logits_cache_mib: int = 0  # of logits that a micro-batch keeps; its backward pass recomputes the others


@dataclass(kw_only=True, slots=True)
class RolloutConfig:
    """vLLM in the learner's ranks. Sampling of training rollouts; evaluation has its own temperature."""

    tensor: int = 1  # tensor parallelism of one engine
    temperature: float = 1.0
    max_prompt_tokens: int = 1024
    max_response_tokens: int = 8192
    max_concurrent: int = 256  # sequences decoded at once by one engine
    gpu_memory_fraction: float = 0.6
    cpu_kv_cache_gib: int = 1
    enforce_eager: bool = False  # no CUDA graphs; always so on a CPU
    sync_bucket_mib: int = 512  # most that a weight push holds beyond the learner's shard


@dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """The optimizer that takes the gradient's step."""

    kind: str = "adamw"  # adamw, sgd, muon, or one of your own: "my_file.py:Name"
    learning_rate: float = 2e-6
    warmup_steps: int = 0  # linear, from a tenth of the learning rate; again after a reset that clears the optimizer
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum: float = 0.95  # of SGD and Muon
    max_grad_norm: float = 1.0


@dataclass(kw_only=True, slots=True)
class ReferenceConfig:
    """The policy that the KL penalty measures from."""

    path: str | None = None  # Hugging Face directory of the same architecture; None: it starts as the initial policy
    offload: bool = False  # keep it, and the best policy, in host memory between uses


@dataclass(kw_only=True, slots=True)
class TaskConfig:
    """One entry of the mixture: a registered task, its share and its options (checked by the task itself)."""

    name: str = MISSING
    weight: float = 1.0  # share of the problems; 0: evaluated and not trained on
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class ServeConfig:
    """The reward server (`python -m prorl_mega.serve`), which scores with `tasks.workers` processes."""

    address: str = "127.0.0.1"
    port: int = 8650  # 0: any that is free
    open_to_network: bool = False  # allow an address that other machines reach; nothing on the way is encrypted
    max_request_mib: int = 16
    max_requests: int = 256  # in hand at a time, waiting ones included
    request_s: float = 10.0  # for a client to say what it wants, and to take the reply


@dataclass(kw_only=True, slots=True)
class TasksConfig:
    mixture: dict[str, TaskConfig] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)  # with tasks of your own: files (.py) or importable modules
    workers: int = 2  # verifier processes per engine, or of a reward server
    memory_mib: int = 2048  # address space of each; one that wants more loses the answer, not the machine
    timeout_s: float = 10.0  # for one answer, then the worker is killed
    retries: int = 1  # after a crash or time-out of a verifier
    servers: list[str] = field(default_factory=list)  # host:port of reward servers; empty: processes of this machine
    token_file: str | None = None  # clients and servers sign with it; of mode 0600, a server makes it
    serve: ServeConfig = field(default_factory=ServeConfig)


@dataclass(kw_only=True, slots=True)
class EvaluationConfig:
    """Held-out problems: drawn from the same tasks with a seed that training never uses."""

    problems_per_task: int = 32
    samples: int = 16  # per problem; pass@k is estimated from them for every power of two up to it
    temperature: float = 0.6
    top_p: float = 0.95
    final_problems_per_task: int = 64  # for the comparison of base and trained policy at the end


@dataclass(kw_only=True, slots=True)
class ClusterConfig:
    """Facts about the machine; `slurm/` and the Slurm launcher read them."""

    nodes: int = 1
    ranks_per_node: int = 1
    gpus_per_node: int = 0
    cpus_per_rank: int = 1
    partition: str | None = None  # None: the cluster's own default
    account: str | None = None
    time_minutes: int = 240
    collective_timeout_s: int = 1800  # a rank that is missing for so long ends the job


@dataclass(kw_only=True, slots=True)
class RunConfig:
    """The whole run. `python -m prorl_mega.train --help` lists the groups."""

    name: str = MISSING  # of the directory under `root`
    root: str = "runs"
    seed: int = 1
    resume: Resume = Resume.auto
    loggers: list[str] = field(default_factory=lambda: ["tensorboard"])  # beside metrics.jsonl; or file.py:Name
    model: ModelConfig = field(default_factory=ModelConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)


@dataclass(kw_only=True, slots=True)
class WarmstartConfig:
    """Supervised training on worked solutions, by the same learner (`python -m prorl_mega.warmstart`)."""

    output: str = MISSING  # Hugging Face directory to write
    seed: int = 1
    model: ModelConfig = field(default_factory=ModelConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    steps: int = 1000
    problems_per_step: int = 64
    max_tokens: int = 1024  # longer examples are an error
    slips: float = 0.0  # share of the solutions with one wrong character in the answer, as careless people give them
