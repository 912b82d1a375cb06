"""What may be changed when a run goes on: every setting is accepted with a record, or refused with the reason."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from helpers.programs import TOKENIZER
from helpers.tiny import tiny_checkpoint

from prorl_mega.config.keys import get_setting, setting_keys, with_settings
from prorl_mega.config.on_resume import ON_RESUME, UNDECIDED, dotted, parsed, reason
from prorl_mega.config.schedule import StageConfig
from prorl_mega.config.schema import (
    ModelConfig,
    ReferenceConfig,
    RunConfig,
    TaskConfig,
    TasksConfig,
)
from prorl_mega.errors import CheckpointError, ConfigError
from prorl_mega.run.changes import InForce, also_set, before_changes, changes, in_force, read_in_force, write_in_force
from prorl_mega.run.decisions import SettingChange
from prorl_mega.run.settings import to_plain, with_defaults, write_settings

LEAVES = [key for key, kind in setting_keys(RunConfig).items() if not dataclasses.is_dataclass(kind)]
REFUSED = {
    "seed": "problems and samples of all steps follow from it",
    "model.path": "weights, tokenizer, chat template and end tokens are those that the run began with",
    "model.family": "the policy is this architecture",
    "model.weights": "it says what the run began with",
    "model.precision": "weights and optimizer are saved in the precision",
    "reference.path": "the reference policy that the run began with",
    "optimizer.kind": "the optimizer's state in the checkpoint is of this kind",
    "parallel.expert": "checkpoints hold the experts in the groups that saved them",
    "parallel.expert_tensor": "checkpoints hold the experts in the parts that saved them",
    "model.chat.system": "the prompts of all steps and evaluations were made with it",
    "model.chat.arguments": "the prompts of all steps and evaluations were made with it",
    "model.chat.today": "the prompts of all steps and evaluations were made with it",
}


def config(**settings: Any) -> RunConfig:
    sums = TaskConfig(name="sums", options={"digits": 2, "path": "sums.jsonl"})
    stages = [{"steps": 5}, {"steps": 5, "recipe": {"samples_per_prompt": 8}}, {}]
    run = RunConfig(name="demo", model=ModelConfig(path="model"), tasks=TasksConfig(mixture={"easy": sums}))
    run.schedule.stages = [StageConfig(**stage) for stage in stages]  # type: ignore[arg-type]
    return with_settings(run, {key.replace("__", "."): value for key, value in settings.items()})


def compare(before: RunConfig | InForce, now: RunConfig, stage: int = 1) -> list[SettingChange]:
    saved = in_force(before) if isinstance(before, RunConfig) else before
    return changes(saved, in_force(now), stage=stage, step=7, where=Path("runs/demo/checkpoints/step_000007"))


def compare_saved(before: RunConfig, now: RunConfig, where: Path, stage: int = 1) -> list[SettingChange]:
    """As a run directory does: through the file of a checkpoint."""
    checkpoint = where / "checkpoints" / "step_000007"
    if not checkpoint.exists():
        checkpoint.mkdir(parents=True)
        write_settings(where / "config.yaml", before)
        write_in_force(checkpoint, in_force(before), 3)
    return changes(read_in_force(checkpoint), in_force(now), stage=stage, step=7, where=checkpoint)


def undone(config: RunConfig, found: list[SettingChange]) -> dict[str, Any]:
    return with_defaults(before_changes(to_plain(config), found))


def other(value: Any, kind: object) -> Any:
    """A value of a setting that is not `value`."""
    match value:
        case bool():
            return not value
        case Enum():
            return next(member for member in type(value) if member is not value)
        case int() | float():
            return value + 1
        case str() | None:
            return "another"
        case list():
            return [StageConfig(steps=3)] if "Stage" in str(kind) else [*value, "another"]
        case dict():
            return {**value, "another": 1}
    raise AssertionError(f"{kind}: say what another value of this kind is")


@pytest.mark.parametrize("key", [key for key in LEAVES if key != "tasks.mixture"])
def test_every_setting_is_accepted_with_a_record_or_refused_with_the_reason(key: str) -> None:
    before = config()
    if key == "schedule.stages":
        before.schedule.stages = []
    value = get_setting(before, key)
    after = with_settings(before, {key: other(value, setting_keys(RunConfig)[key])})
    if key in REFUSED:
        with pytest.raises(ConfigError, match=rf"  {key}\S*: .* before, .* now; {REFUSED[key]}.*; .*new run") as caught:
            compare(before, after)
        assert UNDECIDED not in str(caught.value)
        return
    (change,) = compare(before, after, stage=0)
    assert change.step == 7
    assert change.key == key or change.key in (f"{key}[0]", f"{key}.another")
    assert change.before != change.after
    assert undone(after, [change]) == to_plain(before), "the record is enough to go back"


def test_every_setting_has_a_decision_and_every_decision_a_setting() -> None:
    undecided = [key for key in LEAVES if reason(parsed(key)) == UNDECIDED]
    assert not undecided, "say in prorl_mega/config/on_resume.py whether it may change when a run goes on, or why not"
    fields = {"tasks.mixture.*"} | {f"tasks.mixture.*.{field.name}" for field in dataclasses.fields(TaskConfig)}
    undecided = [key for key in fields if reason(parsed(key)) == UNDECIDED]
    assert not undecided
    known = {*setting_keys(RunConfig), *fields}
    assert [key for key in ON_RESUME if key not in known and ".options." not in key] == []
    assert {key for key in LEAVES if reason(parsed(key))} == set(REFUSED)


@pytest.mark.parametrize("new", ["model.new", "optimizer.new", "tasks.new", "reference.new", "parallel.new", "new"])
def test_a_setting_that_nobody_has_decided_about_is_refused(new: str) -> None:
    assert reason(parsed(new)) == UNDECIDED


@pytest.mark.parametrize("key", ["a", "a.b.c", "schedule.stages[0]", "schedule.stages[12].recipe.kl.coef"])
def test_keys_and_paths(key: str) -> None:
    assert dotted(parsed(key)) == key


def entry(**fields: Any) -> TasksConfig:
    easy = TaskConfig(name="sums", options={"digits": 2, "path": "sums.jsonl"})
    return TasksConfig(mixture={"easy": dataclasses.replace(easy, **fields)})


@pytest.mark.parametrize(
    ("tasks", "key"),
    [
        (entry(weight=0.5), "tasks.mixture.easy.weight"),
        (entry(options={"digits": 2, "path": "/moved/sums.jsonl"}), "tasks.mixture.easy.options.path"),
        (entry(options={"digits": 2, "path": "sums.jsonl", "skip": 0.1}), "tasks.mixture.easy.options.skip"),
        (TasksConfig(mixture=entry().mixture | {"hard": TaskConfig(name="gcd")}), "tasks.mixture.hard"),
    ],
)
def test_what_may_change_in_a_mixture(tasks: TasksConfig, key: str, tmp_path: Path) -> None:
    before, after = config(), config(tasks=tasks)
    (change,) = compare(before, after)
    assert change.key == key
    assert undone(after, [change]) == to_plain(before)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (entry(name="gcd"), r"tasks\.mixture\.easy\.name: sums before, gcd now; other problems .* add an entry"),
        (entry(options={"digits": 3, "path": "sums.jsonl"}), r"easy\.options\.digits: 2 before, 3 now; other problems"),
        (entry(options={}), r"easy\.options\.digits: 2 before, \(none\) now; other problems"),
        (TasksConfig(mixture={}), r"tasks\.mixture\.easy: .* before, \(none\) now; .*weight 0 ends training on it"),
    ],
)
def test_what_must_not_change_in_a_mixture(tasks: TasksConfig, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(config(), config(tasks=tasks))


def staged(*stages: dict[str, Any]) -> RunConfig:
    run = config()
    run.schedule.stages = [StageConfig(**stage) for stage in stages]
    return run


A, B, C = {"steps": 5}, {"steps": 5, "recipe": {"samples_per_prompt": 8}}, dict[str, Any]()


@pytest.mark.parametrize(
    ("stages", "keys"),
    [
        ([A, B | {"steps": 9}, C], ["schedule.stages[1].steps"]),
        ([A, B | {"recipe": {"samples_per_prompt": 4}}, C], ["schedule.stages[1].recipe.samples_per_prompt"]),
        ([A, B], ["schedule.stages[2]"]),
        ([A, B, {"steps": 7}, {"recipe": {"kl": {"coef": 0}}}], ["schedule.stages[2].steps", "schedule.stages[3]"]),
    ],
)
def test_stages_that_go_on_or_are_to_come_may_change(stages: Any, keys: list[str], tmp_path: Path) -> None:
    after = staged(*stages)
    found = compare(config(), after, stage=1)
    assert [change.key for change in found] == keys
    assert undone(after, found) == to_plain(config())


@pytest.mark.parametrize(
    ("stages", "stage", "message"),
    [
        (
            [A | {"steps": 6}, B, C],
            1,
            r"stages\[0\]\.steps: 5 before, 6 now; this stage is over; .*stages\[1\]",
        ),
        ([B, C], 1, r"stages\[0\]\.recipe\.samples_per_prompt: \(none\) before, 8 now; this stage is over"),
        ([A], 1, r"stages\[1\]: .* before, \(none\) now; the run is in this stage"),
        ([], 2, r"stages\[0\]: .* this stage is over"),
    ],
)
def test_stages_that_are_over_stay(stages: Any, stage: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(config(), staged(*stages), stage=stage)


def test_a_stage_that_sets_it_itself_is_told() -> None:
    after = staged({"recipe": {"kl": {"coef": 0.5}}}, {})
    assert also_set(after, 1, "recipe.kl.coef") == "; stage 2, which is going on, sets it to 0.5"
    assert also_set(after, 1, "recipe.loss.entropy_coef") == also_set(after, 1, "tasks.mixture.easy.weight") == ""
    assert also_set(config(), 0, "schedule.stages[0].steps") == ""


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    after = config(seed=9, optimizer__kind="sgd", optimizer__learning_rate=1e-9)
    with pytest.raises(ConfigError, match="cannot go on after step 7 with these settings:") as caught:
        compare(config(), after)
    assert "seed: 1 before, 9 now" in str(caught.value)
    assert "optimizer.kind: adamw before, sgd now" in str(caught.value)
    assert "learning_rate" not in str(caught.value)


# Files that settings name: their contents count.


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_checkpoint(tmp_path_factory.mktemp("identity") / "model", "qwen2")
    for file in TOKENIZER.iterdir():
        if file.name != "config.json":
            shutil.copyfile(file, model / file.name)
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2], "temperature": 0.7}))
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return model


@pytest.fixture
def model(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(original, tmp_path / "model"))


@pytest.mark.parametrize("spelling", ["./model", "model/", "../{}/model", "{absolute}/model", "link"])
def test_another_spelling_is_no_change(spelling: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    path = spelling.format(tmp_path.name, absolute=tmp_path)
    reference = ReferenceConfig(path="model")
    before = config(model__path="model", reference=reference, root="runs", tasks__modules=["a.py"])
    now = {"model__path": path, "reference__path": path, "root": f"{tmp_path}/runs", "tasks__modules": ["./a.py"]}
    assert compare(before, config(**now)) == []


def test_a_model_that_was_moved_is_the_same(model: Path, tmp_path: Path) -> None:
    before = in_force(config(model__path="model"))
    model.rename(tmp_path / "elsewhere")
    (change,) = compare(before, config(model__path=str(tmp_path / "elsewhere")))
    assert change.text == f"model.path: model -> {tmp_path}/elsewhere"


def edited(name: str, **fields: Any) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        content = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(content | fields))

    return edit


def new_template(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ messages[0].content }} Think.")


def no_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()


def finetuned(model: Path) -> None:
    tiny_checkpoint(model, "qwen2", seed=1)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (edited("tokenizer_config.json", eos_token="<|other|>"), "tokenizer_config.json"),
        (edited("tokenizer_config.json", chat_template="{{ messages }}"), "tokenizer_config.json"),
        (edited("tokenizer.json", normalizer={"type": "Lowercase"}), "tokenizer.json"),
        (edited("generation_config.json", eos_token_id=2), "generation_config.json"),
        (edited("config.json", rope_theta=5e5), "config.json"),
        (new_template, "chat_template.jinja"),
        (no_template, "chat_template.jinja"),
        (finetuned, "the weights"),
    ],
)
@pytest.mark.parametrize("key", ["model__path", "reference__path"])
def test_what_was_changed_in_place_is_named(
    key: str, change: Callable[[Path], None], part: str, model: Path, tmp_path: Path
) -> None:
    run = config(**{key: "model"})
    before = in_force(run)
    change(model)
    name = key.replace("__", ".")
    with pytest.raises(ConfigError, match=rf"  {name}: .*\(changed: .*{part}.*\) now; .*put it back as it was, or"):
        compare(before, run)


@pytest.mark.parametrize(
    "change",
    [
        edited("config.json", transformers_version="99"),
        edited("generation_config.json", temperature=0.1),
        lambda model: (model / "README.md").write_text("read me"),
        edited("tokenizer.json"),
    ],
)
def test_what_a_run_does_not_read_may_change(change: Callable[[Path], None], model: Path, tmp_path: Path) -> None:
    run = config(model__path="model")
    before = in_force(run)
    change(model)
    assert compare(before, run) == []


@pytest.mark.parametrize("key", ["optimizer__kind", "recipe__policy_loss__kind", "stage"])
def test_code_that_was_changed_is_noticed(key: str, tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text("def loss(): ...")
    reference = f"{code}:loss"
    if key == "stage":
        run = staged({}, {"recipe": {"policy_loss": {"kind": reference}}})
        name = "schedule.stages[1].recipe.policy_loss.kind"
    else:
        run, name = config(**{key: reference}), key.replace("__", ".")
    before = in_force(run)
    code.write_text("def loss(): return 1")
    if key == "optimizer__kind":
        with pytest.raises(ConfigError, match=r"optimizer\.kind: .*\(changed: loss in mine\.py\) now; "):
            compare(before, run)
        return
    (change,) = compare(before, run)
    assert (change.key, change.after) == (name, f"{reference} (changed: loss in mine.py)")


def test_a_checkpoint_knows_the_settings_that_it_was_saved_with(tmp_path: Path, model: Path) -> None:
    before = config(model__path="model", name="first")
    after = with_settings(before, {"root": "elsewhere", "recipe.kl.coef": 0.5})
    assert compare_saved(before, before, tmp_path) == []
    write_settings(tmp_path / "config.yaml", after)  # a start with them that came to no checkpoint
    assert [change.key for change in compare_saved(before, after, tmp_path)] == ["recipe.kl.coef"]
    for text in ("a: [", None):
        (tmp_path / "config.yaml").unlink() if text is None else (tmp_path / "config.yaml").write_text(text)
        keys = [change.key for change in compare_saved(before, after, tmp_path)]
        assert keys == ["recipe.kl.coef", "name", "root"], "damaged or gone: where it was is not known"
    assert "first" not in (tmp_path / "checkpoints" / "step_000007" / "settings.yaml").read_text()


def test_a_checkpoint_of_an_earlier_version_has_the_settings_of_its_run(tmp_path: Path, model: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "step_000007"
    checkpoint.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"saved by an earlier version, and .*config\.yaml.*is missing"):
        compare_saved(config(), config(), tmp_path / "run")
    write_settings(tmp_path / "run" / "config.yaml", config())
    (change,) = compare_saved(config(), config(recipe__kl__coef=0.5, model__path=str(model)), tmp_path / "run")
    assert change.text == "recipe.kl.coef: 0.0001 -> 0.5"
    with pytest.raises(ConfigError, match=r"model\.path: model before, .*/other now"):
        compare_saved(config(), config(model__path=str(tmp_path / "other")), tmp_path / "run")


@pytest.mark.parametrize("text", ["", "[]", "settings: 3", "settings: {}", "a: ["])
def test_broken_settings_of_a_checkpoint(text: str, tmp_path: Path) -> None:
    compare_saved(config(), config(), tmp_path)
    (tmp_path / "checkpoints" / "step_000007" / "settings.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=r"settings\.yaml cannot be read"):
        compare_saved(config(), config(), tmp_path)
