"""Every setting of a run: its type, its default and what it means. Imports no torch, so that a login node can validate.

Defaults live here and nowhere else; experiments under `configs/` state differences. After composition the tree is
turned into these objects at once (`prorl_mega.config.compose`) and no `DictConfig` is passed on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from omegaconf import MISSING

from prorl_mega.config.bounds import bounded
from prorl_mega.config.faults import FaultConfig
from prorl_mega.config.recipe import RecipeConfig
from prorl_mega.config.schedule import ScheduleConfig
from prorl_mega.config.servers import ServersConfig


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
class ChatConfig:
    """The turns and arguments of the model's chat template."""

    system: str | None = None  # system turn of problems that bring none; None: no such turn, "": an empty one
    arguments: dict[str, Any] = field(default_factory=dict)  # of the template: {enable_thinking: false}
    today: str = "2024-07-26"  # for templates that write the date; fixed, so that a resumed run reads the same prompts


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The policy. The base model is also the first reference policy."""

    path: str = MISSING  # Hugging Face directory: config.json, *.safetensors, tokenizer
    family: str | None = None  # for an architecture that is not built in: "my_file.py:NAME" of a Family
    weights: WeightSource = WeightSource.pretrained
    precision: Precision = Precision.auto
    recompute: Recompute = Recompute.none
    chat: ChatConfig = field(default_factory=ChatConfig)
    keep_special_tokens: list[str] | None = None  # that verifiers see in answers; None: those named like <think>


@dataclass(kw_only=True, slots=True)
class ParallelConfig:
    """The learner's parallelism; data parallelism uses the remaining factor of the number of ranks."""

    tensor: int = bounded(1, ge=1)
    pipeline: int = bounded(1, ge=1)
    sequence: bool = False  # shard activations between tensor-parallel ranks as well
    expert: int = bounded(1, ge=1)  # groups that share the experts of a layer, made of a stage's ranks
    expert_tensor: int = bounded(0, ge=0)  # ranks of each that share every expert; 0: as `tensor`
    max_tokens_per_microbatch: int = bounded(16384, ge=1)  # tokens packed into one forward pass
    logits_cache_mib: int = bounded(0, ge=0)  # logits that a micro-batch keeps; the rest is recomputed


@dataclass(kw_only=True, slots=True)
class RolloutConfig:
    """vLLM, wherever `placement` says. Sampling of training rollouts; evaluation has its own temperature."""

    tensor: int = bounded(1, ge=1)  # tensor parallelism of one engine
    temperature: float = bounded(1.0, gt=0, le=10)
    max_prompt_tokens: int = bounded(1024, ge=1)
    max_response_tokens: int = bounded(8192, ge=1)
    max_concurrent: int = bounded(256, ge=1, le=8192)  # sequences decoded at once by one engine
    # Versions of the policy that groups may be sampled ahead of the step that trains on them, with
    # placement=disaggregated; None: a step waits for all of its groups, and nothing is sampled while the learner works.
    staleness: int | None = field(default=None, metadata={"bounds": {"ge": 0, "le": 64}})
    # Speculative decoding: the tokens that followed when the last `speculative_ngram` tokens were last seen in the same
    # sequence are checked at once, up to so many; 0: none. Samples have the same distribution.
    speculative_tokens: int = bounded(0, ge=0, le=32)
    speculative_ngram: int = bounded(3, ge=1, le=32)
    # Sampler and learner compute every token in the same order of sums, so that their log-probabilities are equal to
    # the bit, in fp32 on a CPU; on a GPU the engine's own mode (VLLM_BATCH_INVARIANT). Slower.
    batch_invariant: bool = False
    gpu_memory_fraction: float = bounded(0.6, gt=0, lt=1)
    cpu_kv_cache_gib: int = bounded(1, ge=1)
    enforce_eager: bool = False  # no CUDA graphs; always so on a CPU
    sync_bucket_mib: int = bounded(512, ge=1)  # most that a weight update holds beyond the learner's shard
    # A mean |log-prob of the learner − of the engine| beyond it, in nats, ends the first step of a start; 0: 1e-3 where
    # the learner computes in fp32, 0.05 in bf16.
    max_logprob_gap: float = bounded(0.0, ge=0)


class OptimizerName(StrEnum):
    adamw = "adamw"
    sgd = "sgd"
    muon = "muon"


@dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """The optimizer of the policy."""

    kind: str = "adamw"  # an OptimizerName, or one of your own: "my_file.py:Name"
    learning_rate: float = bounded(2e-6, gt=0)
    warmup_steps: int = bounded(0, ge=0)  # linear from a tenth; again after a reset that clears the optimizer
    weight_decay: float = bounded(0.01, ge=0)
    beta1: float = bounded(0.9, ge=0, lt=1)
    beta2: float = bounded(0.999, ge=0, lt=1)
    epsilon: float = bounded(1e-8, gt=0)
    momentum: float = bounded(0.95, ge=0, lt=1)  # of SGD and Muon
    max_grad_norm: float = bounded(1.0, gt=0)
    max_skipped_updates: int = bounded(0, ge=0)  # in a row, left out because they are not finite, until an error
    # Then, so many times without a new checkpoint between: go back to the last one, and on with other problems. 0: end.
    max_rollbacks: int = bounded(0, ge=0)
    spike_factor: float = bounded(10.0, ge=0)  # times the usual gradient norm, above which a batch is kept; 0: none is


@dataclass(kw_only=True, slots=True)
class ReferenceConfig:
    """The policy that the KL penalty measures from."""

    path: str | None = None  # Hugging Face directory of the same architecture; None: it starts as the initial policy
    offload: bool = False  # keep it, and the best policy, in host memory between uses


class Split(Enum):
    auto = "auto"  # one prompt in eight is held out for evaluation, the others are trained on
    train = "train"  # all rows of the files are trained on
    validation = "validation"  # all rows of the files are evaluation problems; `weight` does not matter


@dataclass(kw_only=True, slots=True)
class TaskConfig:
    """One entry of the mixture: a registered task, its share and its options (checked by the task itself)."""

    name: str = MISSING
    weight: float = bounded(1.0, ge=0)  # share of the problems; 0: evaluated and not trained on
    split: Split = Split.auto
    problems: int = bounded(0, ge=0)  # most of them that are evaluated; 0: as many as `evaluation` says for every entry
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class ServeConfig:
    """The reward server (`python -m prorl_mega.serve`), which scores with `tasks.workers` processes."""

    address: str = "127.0.0.1"
    port: int = bounded(8650, ge=0, le=65535)  # 0: any that is free
    open_to_network: bool = False  # allow an address that other machines reach; nothing on the way is encrypted
    max_request_mib: int = bounded(16, ge=1)
    max_requests: int = bounded(256, ge=1)  # in hand at a time, waiting ones included
    request_s: float = bounded(10.0, gt=0, le=86400)  # for a client to send its request, and to take the reply


@dataclass(kw_only=True, slots=True)
class SecondOpinionsConfig:
    """Answers with full marks that another verifier judges as well, in a process of its own while the learner works.

    They change no reward: the share that is rejected is `hack/disputed`, and `schedule.alarms.disputed` looks at it.
    """

    answers: int = bounded(16, ge=0, le=4096)  # per step, of different problems first; 0: none
    # By entry of the mixture; others have none. A task; math_verify, that library alone, for `math`; a function of your
    # own, `my_file.py:judge`, of problem and answer, which returns whether it accepts; or own, the entry's own task
    # with other options.
    verifiers: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)  # by entry; over those of the entry where both have the same


@dataclass(kw_only=True, slots=True)
class TasksConfig:
    mixture: dict[str, TaskConfig] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)  # with tasks of your own: files (.py) or importable modules
    workers: int = bounded(2, ge=1)  # verifier processes per engine, or of a reward server
    memory_mib: int = bounded(2048, ge=512)  # address space of each; more fails the answer, not the machine
    timeout_s: float = bounded(10.0, gt=0, le=86400)  # for one answer, then the worker is killed
    retries: int = bounded(1, ge=0)  # after a crash or time-out of a verifier
    report_failures: float = bounded(0.05, ge=0, le=1)  # a larger share of answers without a verdict is said at once
    servers: list[str] = field(default_factory=list)  # host:port of reward servers; empty: processes of this machine
    second_opinions: SecondOpinionsConfig = field(default_factory=SecondOpinionsConfig)
    token_file: str | None = None  # clients and servers sign with it; of mode 0600, a server makes it
    serve: ServeConfig = field(default_factory=ServeConfig)

    def training_weights(self) -> dict[str, float]:
        """The weight of every entry in what is trained on."""
        return {name: 0.0 if entry.split is Split.validation else entry.weight for name, entry in self.mixture.items()}


class ServerApi(Enum):
    chat = "chat"  # messages, which the server puts into its own chat template
    completions = "completions"  # token ids of `model.path`'s tokenizer and chat template, as an engine gets them


@dataclass(kw_only=True, slots=True)
class ServerConfig:
    """A server with OpenAI's API (vLLM and many others) that is sampled from instead of an engine of this process."""

    url: str | None = None  # http://127.0.0.1:8000/v1, https://host/v1; None: no server
    model: str | None = None  # its name there; None: the only one that the server lists
    api: ServerApi = ServerApi.chat
    concurrency: int = bounded(16, ge=1, le=4096)  # requests in flight
    timeout_s: float = bounded(600.0, gt=0, le=86400)  # for one answer
    retries: int = bounded(5, ge=0, le=100)  # of a request that the server does not answer, after longer and longer
    key_env: str | None = None  # the environment variable that holds the key; the key itself stands in no file
    allow_http: bool = False  # http:// to other machines as well; nothing on the way is encrypted, the key included


@dataclass(kw_only=True, slots=True)
class EvaluationConfig:
    """Held-out problems: drawn from the same tasks with a seed that training never uses."""

    problems_per_task: int = bounded(32, ge=1)  # of each entry, or all its held-out problems where it has fewer
    samples: int = bounded(16, ge=1)  # per problem; pass@k is estimated from them for every power of two up to it
    temperature: float = bounded(0.6, gt=0, le=10)
    top_p: float = bounded(0.95, gt=0, le=1)
    beside_training: bool = False  # on the way, in the gaps of the servers while steps go on; needs rollout.staleness
    final_problems_per_task: int = bounded(64, ge=1)  # for the comparison of base and trained policy at the end
    server: ServerConfig = field(default_factory=ServerConfig)
    max_response_tokens: int = bounded(0, ge=0)  # in that comparison and in `evaluate`; 0: the longest of training
    # Names, as [aime24, math500, graph_color:num_vertices=5/20, amc=my.jsonl]; `evaluate --benchmarks` lists them
    benchmarks: list[str] = field(default_factory=list)
    benchmark_directory: str = "data/benchmarks"  # where their files lie, NAME.jsonl or a folder NAME/


class GpuKind(StrEnum):
    """GPUs whose data sheets `plan` knows."""

    h100 = "h100"
    h200 = "h200"


@dataclass(kw_only=True, slots=True)
class ClusterConfig:
    """Facts about the machine; `slurm/` and the Slurm launcher read them."""

    nodes: int = bounded(1, ge=1)  # of the learner's ranks
    server_nodes: int = bounded(0, ge=0)  # more of them, for vLLM servers (placement=disaggregated); 0: beside rank 0
    ranks_per_node: int = bounded(1, ge=1)
    gpus_per_node: int = bounded(0, ge=0)
    gpu: GpuKind = GpuKind.h100  # for the times that `plan` prints
    cpus_per_rank: int = bounded(1, ge=1)
    partition: str | None = None  # None: the cluster's own default
    account: str | None = None
    time_minutes: int = bounded(240, ge=1)
    sbatch: dict[str, str] = field(default_factory=dict)  # more options: +cluster.sbatch.qos=high
    container: str | None = None  # pyxis:IMAGE or apptainer:IMAGE, in which ranks run; None: this Python environment
    container_python: str = "python"  # the interpreter inside
    mounts: list[str] = field(default_factory=list)  # of the container, as /data or /data:/mnt
    stop_before_end_s: int = bounded(180, ge=0)  # that a job saves and stops before Slurm ends it; 0: only on a signal
    max_attempts_without_progress: int = bounded(3, ge=1)  # that end in no further checkpoint, until a job is given up
    collective_timeout_s: int = bounded(1800, ge=1)  # a rank that is missing for so long ends the job
    hang_timeout_s: float = bounded(1500.0, ge=0, le=86400)  # so does one without progress, by name; 0: not watched


class Placement(StrEnum):
    """The place of the inference engines."""

    colocated = "colocated"  # in the learner's ranks, which take turns with them
    disaggregated = "disaggregated"  # vLLM servers beside the learner: `servers`


@dataclass(kw_only=True, slots=True)
class RunConfig:
    """The whole run. `python -m prorl_mega.train --help` lists the groups."""

    name: str = MISSING  # of the directory under `root`
    root: str = "runs"
    seed: int = bounded(1, ge=0, le=2**31 - 1)
    resume: Resume = Resume.auto
    loggers: list[str] = field(default_factory=lambda: ["tensorboard"])  # and mlflow, trackio, wandb, file.py:Name
    model: ModelConfig = field(default_factory=ModelConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    placement: Placement = Placement.colocated
    servers: ServersConfig = field(default_factory=ServersConfig)  # with placement=disaggregated
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    faults: list[FaultConfig] = field(default_factory=list)  # caused on purpose, to test what the run makes of them


@dataclass(kw_only=True, slots=True)
class EvaluateConfig(RunConfig):
    """An evaluation (`python -m prorl_mega.evaluate`): the settings of a run, and which policy is evaluated."""

    run: str | None = None  # a run under `root`, or its directory, whose settings and checkpoint are taken
    step: str = "last"  # which checkpoint: a step, `last`, or `best`, the one that schedule.keep_best has kept
    label: str | None = None  # of the results, evaluation/<label>.json; None: policy, step_000120, policy_aime24


@dataclass(kw_only=True, slots=True)
class WarmstartConfig:
    """Supervised training on worked solutions, by the same learner (`python -m prorl_mega.warmstart`)."""

    output: str = MISSING  # Hugging Face directory to write
    seed: int = bounded(1, ge=0, le=2**31 - 1)
    model: ModelConfig = field(default_factory=ModelConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    steps: int = bounded(1000, ge=1)
    problems_per_step: int = bounded(64, ge=1)
    max_tokens: int = bounded(1024, ge=1)  # longer examples are an error
    label_noise: float = bounded(0.0, ge=0, le=1)  # share of solutions with one wrong character in the answer
    answers: str | None = None  # runs/x/evaluation/LABEL, whose right answers are trained on instead of `tasks`
    corpus: str | None = None  # file (.jsonl) for all that is read, prompt and solution, for `prorl_mega.creativity`
