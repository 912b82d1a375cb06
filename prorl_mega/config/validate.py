"""Refuses settings that cannot work, before anything is allocated. Imports no torch.

Every message starts with the key, shows the numbers and says what would work. All mistakes are reported at once.
"""

from __future__ import annotations

import dataclasses
import math
import re

from prorl_mega.config.bounds import out_of_bounds
from prorl_mega.config.faults import fault_problems
from prorl_mega.config.placement_checks import placement_problems
from prorl_mega.config.recipe_checks import known_or_own, recipe_problems
from prorl_mega.config.schedule_checks import schedule_problems
from prorl_mega.config.schema import (
    ClusterConfig,
    EvaluateConfig,
    ModelConfig,
    OptimizerName,
    ParallelConfig,
    Placement,
    RunConfig,
    ServerApi,
    Split,
    TasksConfig,
    WarmstartConfig,
    WeightSource,
)
from prorl_mega.config.server_checks import server_problems
from prorl_mega.config.stages import longest_response, stage_settings
from prorl_mega.errors import ConfigError
from prorl_mega.families.family import ModelDescription
from prorl_mega.huggingface.chat_template import read_chat_template
from prorl_mega.huggingface.config import check_experts, check_layout, describe
from prorl_mega.huggingface.tokenizer_files import TokenizerFiles
from prorl_mega.huggingface.weights import check_weights

_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):[0-9]{1,5}")
_NO_SHAPE = {"max_positions", "positions_bound_by", "ignored"}  # what two checkpoints of one model may differ in
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OPTION = re.compile(r"[a-z][a-z-]*")


def validate(config: RunConfig, world_size: int) -> None:
    """Raise `ConfigError` (`ModelError` for the model directory) unless the run can start with `world_size` ranks."""
    stages = stage_settings(config)
    _raise_all(
        [
            *out_of_bounds(config),
            *name_problems(config.name),
            *_parallel(config.parallel, world_size),
            *_rollout(config, world_size),
            *placement_problems(config),
            *_batches(config, world_size),
            *recipe_problems(config),
            *schedule_problems(config, stages),
            *_stages(config, stages, world_size),
            *_tasks(config.tasks),
            *_evaluation(config.tasks),
            *server_problems(config.evaluation.server),
            *_cluster(config.cluster),
            *known_or_own(config.optimizer.kind, OptimizerName, "optimizer", "optimizer.kind"),
            *_expert_optimizer(config.parallel, config.optimizer.kind),
            *fault_problems(config.faults, world_size),
        ]
    )
    description = _model(config.model, config.parallel)
    _raise_all(
        [
            *_engine_layout(config.rollout.tensor, description),
            *_context(config, stages, description),
            *_reference(config, description),
        ]
    )


def validate_warmstart(config: WarmstartConfig, world_size: int) -> None:
    """`validate` for a warm start."""
    longest, fits = config.max_tokens, config.parallel.max_tokens_per_microbatch
    problems = [
        *out_of_bounds(config),
        *_parallel(config.parallel, world_size),
        *_tasks(config.tasks),
        *_cluster(config.cluster),
        *known_or_own(config.optimizer.kind, OptimizerName, "optimizer", "optimizer.kind"),
        *_expert_optimizer(config.parallel, config.optimizer.kind),
    ]
    if longest > fits:
        problems.append(
            f"max_tokens={longest} is more than parallel.max_tokens_per_microbatch={fits}; {_fits(longest)}"
        )
    _raise_all(problems)
    description = _model(config.model, config.parallel)
    if longest > description.max_positions:
        raise ConfigError(f"max_tokens={longest} is more than the context of the model ({_positions(description)})")


def validate_evaluation(config: EvaluateConfig, world_size: int) -> None:
    """`validate` for an evaluation, whose ranks share nothing but engines: the learner's layout does not matter."""
    stages = stage_settings(config)
    _raise_all(
        [
            *out_of_bounds(config),
            *name_problems(config.name),
            *([] if config.label is None else name_problems(config.label, "label")),
            *server_problems(config.evaluation.server),
            *_server_ranks(config, world_size),
            *_engines(config, world_size),
            *placement_problems(config),
            *(problem for problem in _tasks(config.tasks) if not problem.startswith("tasks.mixture: every weight")),
            *_evaluation(config.tasks),
            *_cluster(config.cluster),
        ]
    )
    served = config.evaluation.server.url is not None
    if config.model.weights is WeightSource.random and config.run is None and not served:
        raise ConfigError(
            "model.weights=random: there is no policy to evaluate; name a run that trained one with run=<name>, or use "
            "model.weights=pretrained"
        )
    if config.model.path == "" and served:
        if config.evaluation.server.api is ServerApi.completions:
            raise ConfigError(
                "evaluation.server.api=completions sends token ids; model.path has to name the directory with the "
                "tokenizer of the served model, or api=chat sends messages"
            )
        return
    description = _model(config.model, ParallelConfig(), reads_weights=config.run is None and not served)
    _raise_all([*_engine_layout(config.rollout.tensor, description), *_context(config, stages, description)])


def validate_tasks(tasks: TasksConfig) -> None:
    """`validate` for programs that only score."""
    _raise_all([*out_of_bounds(tasks, "tasks."), *_tasks(tasks)])


def _raise_all(problems: list[str]) -> None:
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError(f"{len(problems)} settings cannot work:\n" + "\n".join(f"  - {line}" for line in problems))


def name_problems(name: str, key: str = "name") -> list[str]:
    """Why a run cannot have this name, which becomes a directory."""
    if _NAME.fullmatch(name):
        return []
    return [f"{key}={name!r} becomes a directory: letters, digits, '.', '_' and '-' work, the first one no sign"]


def _parallel(parallel: ParallelConfig, world_size: int) -> list[str]:
    problems = []
    tensor, pipeline = parallel.tensor, parallel.pipeline
    model_ranks = tensor * pipeline
    if model_ranks < 1 or world_size % model_ranks:
        splits = [f"{t}×{n // t}" for n in _divisors(world_size) for t in _divisors(n)]
        problems.append(
            f"parallel.tensor={tensor} × parallel.pipeline={pipeline} = {model_ranks} does not divide the "
            f"{world_size} rank{'s' * (world_size > 1)} of this job; tensor×pipeline may be {', '.join(splits)}, "
            f"or start a multiple of {model_ranks} ranks"
        )
    expert_tensor = parallel.expert_tensor or tensor
    expert_ranks = expert_tensor * parallel.expert * pipeline
    if not problems and (parallel.expert > 1 or parallel.expert_tensor) and world_size % max(1, expert_ranks):
        stage = world_size // max(1, pipeline)
        works = [f"{n}×{t}" for t in _divisors(stage) for n in _divisors(stage // t)]
        problems.append(
            f"parallel.expert={parallel.expert} × parallel.expert_tensor={expert_tensor} does not divide the {stage} "
            f"ranks of a pipeline stage; expert×expert_tensor may be {', '.join(works)}"
        )
    if parallel.sequence and tensor == 1:
        problems.append(
            "parallel.sequence=true shards between tensor-parallel ranks; it needs parallel.tensor of 2 or more"
        )
    return problems


def _expert_optimizer(parallel: ParallelConfig, kind: str) -> list[str]:
    """Other optimizers take the norm of the gradient over ranks that then hold different experts, and clip apart."""
    is_own_cut = parallel.expert > 1 or parallel.expert_tensor not in (0, parallel.tensor)
    if not is_own_cut or kind == OptimizerName.adamw:
        return []
    return [f"optimizer.kind={kind}: experts that are cut in their own way (parallel.expert) need optimizer.kind=adamw"]


def _engines(config: RunConfig, world_size: int) -> list[str]:
    rollout = config.rollout
    if config.placement is Placement.disaggregated or (rollout.tensor >= 1 and world_size % rollout.tensor == 0):
        return []
    works = ", ".join(str(n) for n in _divisors(world_size))
    return [
        f"rollout.tensor={rollout.tensor} does not divide the {world_size} rank{'s' * (world_size > 1)} "
        f"of this job; these work: {works}, and any with placement=disaggregated"
    ]


def _server_ranks(config: EvaluateConfig, world_size: int) -> list[str]:
    if config.evaluation.server.url is None or world_size == 1:
        return []
    return [
        f"evaluation.server.url is set and this job has {world_size} ranks; one process asks a server, with as many "
        "requests in flight as evaluation.server.concurrency says"
    ]


def _rollout(config: RunConfig, world_size: int) -> list[str]:
    rollout, fits = config.rollout, config.parallel.max_tokens_per_microbatch
    problems = _engines(config, world_size)
    longest = rollout.max_prompt_tokens + rollout.max_response_tokens
    if longest > fits:
        problems.append(
            f"rollout.max_prompt_tokens={rollout.max_prompt_tokens} + "
            f"rollout.max_response_tokens={rollout.max_response_tokens} = {longest} is more than "
            f"parallel.max_tokens_per_microbatch={fits}; {_fits(longest)}"
        )
    sharded = [key for key, size in (("parallel", config.parallel.tensor), ("rollout", rollout.tensor)) if size > 1]
    if rollout.batch_invariant and sharded:
        problems.append(
            f"rollout.batch_invariant=true with {sharded[0]}.tensor above 1: sums over ranks have an order of their "
            f"own; {sharded[0]}.tensor=1 works, with any parallel.pipeline"
        )
    return problems


def _batches(config: RunConfig, world_size: int) -> list[str]:
    problems = []
    recipe, parallel = config.recipe, config.parallel
    step, update, samples = recipe.prompts_per_step, recipe.prompts_per_update, recipe.samples_per_prompt
    if update < 1 or step % update:
        works = ", ".join(str(n) for n in _divisors(step))
        problems.append(
            f"recipe.prompts_per_step={step} is not a multiple of recipe.prompts_per_update={update}; "
            f"prompts_per_update may be {works}"
        )
    replicas = max(1, world_size // max(1, parallel.tensor * parallel.pipeline))
    if update * samples < replicas:
        needed = -(-replicas // max(1, samples))
        problems.append(
            f"recipe.prompts_per_update={update} × recipe.samples_per_prompt={samples} = {update * samples} sequences "
            f"cannot be shared by {replicas} data-parallel ranks; prompts_per_update of {needed} or more works"
        )
    return problems


def _stages(config: RunConfig, stages: list[RunConfig], world_size: int) -> list[str]:
    """The mistakes of each stage that the settings outside of stages do not have already."""
    known = set(_stage_problems(config, world_size))
    problems = []
    for index, settings in enumerate(stages if config.schedule.stages else []):
        found = [problem for problem in _stage_problems(settings, world_size) if problem not in known]
        known.update(found)
        problems += [f"schedule.stages[{index}].{problem}" for problem in found]
    return problems


def _stage_problems(settings: RunConfig, world_size: int) -> list[str]:
    """The mistakes in everything that a stage can change."""
    return [
        *out_of_bounds(settings),
        *_rollout(settings, world_size),
        *_batches(settings, world_size),
        *recipe_problems(settings),
    ]


def _tasks(tasks: TasksConfig) -> list[str]:
    if not tasks.mixture:
        return ["tasks.mixture is empty: nothing to learn from; choose a file of configs/tasks/ with tasks=<file>"]
    if not any(weight > 0 for weight in tasks.training_weights().values()):
        return ["tasks.mixture: every weight is 0, or of split=validation; there has to be something to learn from"]
    problems = [
        f"tasks.servers: {server!r} is no reward server; write host:port, as in node7:8650"
        for server in tasks.servers
        if not _SERVER.fullmatch(server)
    ]
    problems += [
        f"tasks.second_opinions.verifiers.{entry}: the mixture has no such entry; it has {', '.join(tasks.mixture)}"
        for entry in tasks.second_opinions.verifiers
        if entry not in tasks.mixture
    ]
    problems += [
        f"tasks.second_opinions.options.{entry}: the entry has no second verifier; verifiers.{entry}=own is its task"
        for entry in tasks.second_opinions.options
        if entry not in tasks.second_opinions.verifiers
    ]
    if tasks.servers and not tasks.token_file:
        problems.append("tasks.servers needs tasks.token_file, the file that the servers were started with")
    return problems


def _evaluation(tasks: TasksConfig) -> list[str]:
    if not tasks.mixture or any(entry.split is not Split.train for entry in tasks.mixture.values()):
        return []
    return ["tasks.mixture: every split is train; there has to be something to evaluate, as split=validation or auto"]


def _cluster(cluster: ClusterConfig) -> list[str]:
    words = {"cluster.partition": cluster.partition, "cluster.account": cluster.account}
    return [
        *(
            f"{key}={value!r} goes to sbatch: letters, digits, '.', '_' and '-' work"
            for key, value in words.items()
            if value is not None and not _NAME.fullmatch(value)
        ),
        *(
            f"cluster.sbatch: {name!r} is no option of sbatch; its long name works, as +cluster.sbatch.qos=high, "
            "with '' for one that takes no value"
            for name in cluster.sbatch
            if not _OPTION.fullmatch(name)
        ),
    ]


def _model(model: ModelConfig, parallel: ParallelConfig, *, reads_weights: bool = True) -> ModelDescription:
    description = describe(model.path, model.family)
    check_layout(description, parallel.tensor, parallel.pipeline)
    check_experts(description, parallel.expert, parallel.expert_tensor or parallel.tensor)
    if description.experts is not None and parallel.tensor > 1 and not parallel.sequence:
        raise ConfigError(
            "parallel.sequence=false: a mixture of experts with tensor parallelism needs parallel.sequence=true"
        )
    read_chat_template(TokenizerFiles(model.path), **dataclasses.asdict(model.chat))
    if model.weights is WeightSource.pretrained and reads_weights:
        check_weights(model.path, description)
    return description


def _engine_layout(tensor: int, description: ModelDescription) -> list[str]:
    """The mistakes in an engine's layout; engines replicate key/value heads that are fewer than the ranks."""
    kv_heads = description.kv_heads
    divides = {
        "attention heads": description.heads % tensor,
        "key/value heads": kv_heads % tensor and tensor % kv_heads,
        "intermediate_size": description.ffn_size % tensor,
    }
    return [f"rollout.tensor={tensor} does not divide the model's {name}" for name, rest in divides.items() if rest]


def _reference(config: RunConfig, description: ModelDescription) -> list[str]:
    reference = config.reference
    if reference.path is None:
        return []
    found = describe(reference.path, config.model.family)
    names = [each.name for each in dataclasses.fields(description) if each.name not in _NO_SHAPE]
    odd = [name for name in names if getattr(found, name) != getattr(description, name)]
    if not odd:
        check_weights(reference.path, found)
    return [
        f"reference.path={reference.path} is not of the policy's architecture: {name} is {getattr(found, name)}, "
        f"not {getattr(description, name)}; the reference has to be a checkpoint of the same model"
        for name in odd[:1]
    ]


def _context(config: RunConfig, stages: list[RunConfig], description: ModelDescription) -> list[str]:
    prompt, response = config.rollout.max_prompt_tokens, longest_response(config, stages)
    if prompt + response <= description.max_positions:
        return []
    left = description.max_positions - prompt
    key = "evaluation" if response == config.evaluation.max_response_tokens else "rollout"
    works = f"max_response_tokens of at most {left} works" if left > 0 else "use a model with a longer context"
    return [
        f"rollout.max_prompt_tokens={prompt} + {key}.max_response_tokens={response} = {prompt + response} is more "
        f"than the model's context ({_positions(description)}); {works}"
    ]


def _positions(description: ModelDescription) -> str:
    if description.positions_bound_by == "max_position_embeddings":
        return f"{description.max_positions} positions"
    reasons = {
        "sliding_window": "up to sliding_window a model is one with full attention, which is what is supported",
        "longrope": "LongRoPE is supported up to original_max_position_embeddings",
        "yarn": "YaRN's factor times original_max_position_embeddings",
    }
    return f"{description.max_positions} positions: {reasons[description.positions_bound_by]}"


def _fits(longest: int) -> str:
    return f"a sequence must fit into one micro-batch: max_tokens_per_microbatch of {longest} or more works"


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(max(number, 0)) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
