"""`prorl_mega.submit` without a Slurm: what it writes is what was asked for, whatever characters that has.

`tests/slurm` runs the same on a real one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.settings import model_directory

from prorl_mega.config.schema import ClusterConfig
from prorl_mega.errors import ConfigError
from prorl_mega.slurm.job import SlurmJob
from prorl_mega.submit import combinations, divided, main

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = [
    "a='single'", 'b="double"', "c=$(touch canary)", "d=`touch canary`", "e=line\nbreak", "f=;touch canary;", "g=*",
    "--flag", "h=ünï→code", "i=\\back\\slash\\", "j=tab\there", "k=${HOME}", "", "l={x: [1, 2]}", " m = spaces ",
    "n=!history", "#SBATCH --wrap=touch", "%j", "-x",
]  # fmt: skip
SBATCH = """#!{python}
import json, os, sys
with open("sbatch.json", "w") as file:
    json.dump(sys.argv[1:], file)
print("4711;cluster")
"""
SRUN = """#!{python}
import json, os, sys, time
from pathlib import Path
with open("srun.json", "w") as file:
    json.dump(dict(argv=sys.argv[1:], path=os.environ["PYTHONPATH"], cwd=os.getcwd()), file)
if "SRUN_CODE" not in os.environ:
    for attempts in Path().rglob("attempts.jsonl"):  # what the program says at its end
        summary = dict(exit_code=0, cause="finished", time=time.time())
        attempts.with_name("run_summary.json").write_text(json.dumps(summary))
sys.exit(int(os.environ.get("SRUN_CODE", "0")))
"""
SCONTROL = """#!{python}
import os, sys
with open("scontrol.log", "a") as file:
    print(*sys.argv[1:], file=file)
if sys.argv[1] == "show":
    gone = "requeue" in open("scontrol.log").read()
    print("JobId=7 JobState=" + ("PENDING" if gone else os.environ.get("JOB_STATE", "RUNNING")) + " Reason=None")
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model, and sbatch, srun and scontrol that record how they are called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    model_directory(tmp_path / "model")
    for each in (ROOT / "examples" / "tiny_qwen2").glob("*"):
        if each.name.startswith(("tokenizer", "special", "vocab", "merges")):
            (tmp_path / "model" / each.name).write_bytes(each.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def demo(*more: str) -> list[str]:
    return ["experiment=demo", f"model.path={ROOT / 'examples' / 'tiny_qwen2'}", "model=random", *more]


def submission(directory: Path) -> Path:
    (found,) = (directory / "runs" / "submissions").iterdir()
    return found


def attempt(directory: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the job's script as Slurm would."""
    call = json.loads((directory / "sbatch.json").read_text())
    script = call[next(index for index, each in enumerate(call) if each.endswith("job.sbatch")) :]
    environ = os.environ | {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(ROOT)} | variables
    return subprocess.run(["bash", *script], cwd=directory, env=environ, capture_output=True, text=True, check=False)


def test_a_run_is_submitted_and_runs(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = demo("cluster.nodes=2", "cluster.ranks_per_node=2", "parallel.tensor=2", "cluster.partition=gpu")
    arguments += ["+cluster.sbatch.qos=high", "+cluster.sbatch.exclusive=''", "cluster.gpus_per_node=2"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert re.search(r"ranks: 4 = tensor 2", said)
    assert "submitted as job 4711; " in said
    call = json.loads((programs / "sbatch.json").read_text())
    expected = {
        "--nodes=2", "--ntasks-per-node=2", "--partition=gpu", "--qos=high", "--exclusive", "--gpus-per-node=2",
        "--requeue", "--job-name=prorl-demo", "--signal=TERM@180",
    }  # fmt: skip
    assert expected <= set(call)
    folder = submission(programs)
    assert folder.stat().st_mode & 0o077 == 0
    copied, original = (root / "prorl_mega" / "train.py" for root in (folder / "code", ROOT))
    assert copied.read_bytes() == original.read_bytes()
    for package, source in (("prorl_mega", "prorl_mega"), ("prorl_kernels", "kernels")):
        files = {each.relative_to(ROOT / source) for each in (ROOT / source).rglob("*") if each.suffix != ".pyc"}
        wanted = {each for each in files if "__pycache__" not in each.parts}
        assert wanted == {
            each.relative_to(folder / "code" / package) for each in (folder / "code" / package).rglob("*")
        }
    assert "tensor: 2" in (folder / "config.0.yaml").read_text()

    done = attempt(programs, folder)
    log = (programs / "runs" / "demo" / "slurm" / "7-1.log").read_text()
    assert done.returncode == 0, done.stderr + log
    called = json.loads((programs / "srun.json").read_text())
    assert called["argv"] == ["--kill-on-bad-exit=1", sys.executable, "-P", "-m", "prorl_mega.train", *arguments]
    assert called["path"].split(":")[0] == str(folder / "code")
    assert "attempt 1 of job 7, from step 0" in log
    assert "exit code 0: finished" in log
    assert (programs / "runs" / "demo" / "slurm" / "latest.log").readlink() == Path("7-1.log")
    assert not (programs / "scontrol.log").exists()


def test_the_code_is_that_of_the_submission(programs: Path) -> None:
    """It is imported from the copy, in the working directory of a checkout as well."""
    assert main(demo()) == 0
    code = submission(programs) / "code"
    show = "import prorl_mega, prorl_kernels; from prorl_mega.config.compose import config_directory as c; print(c())"
    command = [sys.executable, "-P", "-c", f"{show}; print(prorl_mega.__file__); print(prorl_kernels.__path__)"]
    environ = os.environ | {"PYTHONPATH": str(code)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.count(str(code)) == 3, done.stdout


@pytest.mark.parametrize(
    ("code", "state", "left", "requeued"),
    [
        ("10", "RUNNING", 10, True),
        ("137", "RUNNING", 137, True),
        ("10", "CANCELLED", 10, False),
        ("10", "COMPLETING", 10, False),
        ("20", "RUNNING", 20, False),
        ("12", "RUNNING", 12, False),
    ],
)
def test_what_follows_an_attempt(programs: Path, code: str, state: str, left: int, requeued: bool) -> None:
    assert main(demo()) == 0
    done = attempt(programs, submission(programs), SRUN_CODE=code, JOB_STATE=state)
    assert done.returncode == left
    log = programs / "scontrol.log"
    assert ("requeue 7" in (log.read_text() if log.exists() else "")) is requeued


def test_a_program_that_ends_early_with_0_is_put_back_into_the_queue(programs: Path) -> None:
    assert main(demo()) == 0
    done = attempt(programs, submission(programs), SRUN_CODE="0")
    assert done.returncode == 1
    assert "requeue 7" in (programs / "scontrol.log").read_text()
    log = (programs / "runs" / "demo" / "slurm" / "7-1.log").read_text()
    assert "exit code 1: the run has not said that it is finished" in log


def test_an_attempt_without_progress_starts_no_rank(programs: Path) -> None:
    assert main(demo("cluster.max_attempts_without_progress=2")) == 0
    folder = submission(programs)
    for count in range(2):
        assert attempt(programs, folder, SRUN_CODE="1", SLURM_RESTART_COUNT=str(count)).returncode == 1
    (programs / "srun.json").unlink()
    assert attempt(programs, folder, SLURM_RESTART_COUNT="2").returncode == 40
    assert not (programs / "srun.json").exists()
    assert (
        "2 attempts in a row have not come to a checkpoint"
        in (programs / "runs" / "demo" / "slurm" / "latest.log").read_text()
    )


def test_any_words_arrive_as_they_are(programs: Path) -> None:
    """Job names come from names of runs, which have no odd characters; overrides and paths may have all of them."""
    odd = programs / "a b $(touch canary) `x` %j ' \" ;"
    odd.mkdir()
    job = SlurmJob(
        name="x", submission=odd / "s", working_directory=odd, python=sys.executable, cluster=ClusterConfig(),
        tasks=[(odd / "runs", HOSTILE)],
    )  # fmt: skip
    job.submission.mkdir()
    for name, content in job.files().items():
        (job.submission / name).write_bytes(content)
    (job.submission / "code").mkdir()
    subprocess.run(["bash", str(job.submission / "submit.sh")], check=True, cwd=programs)
    call = json.loads((odd / "sbatch.json").read_text())
    assert f"--output={str(odd / 's').replace('%', '%%')}/slurm-%j.out" in call
    environ = os.environ | {"SLURM_JOB_ID": "7", "PYTHONPATH": str(ROOT)}
    script = call[call.index(str(job.submission / "job.sbatch")) :]
    subprocess.run(["bash", *script], cwd=odd, env=environ, check=True, capture_output=True)
    argv = json.loads((odd / "srun.json").read_text())["argv"]
    assert argv == ["--kill-on-bad-exit=1", sys.executable, "-P", "-m", "prorl_mega.train", *HOSTILE]
    assert not list(programs.rglob("canary"))


def test_a_dry_run_writes_nothing(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", *demo("seed=1,2")]) == 0
    said = capsys.readouterr().out
    assert "2 jobs, as:" in said
    assert "#!/usr/bin/env bash" in said
    assert "name=demo--seed_2" in said
    assert "--array=0-1" in said
    assert not (programs / "runs").exists()


def test_a_sweep_is_one_array(programs: Path) -> None:
    assert main(["-m", *demo("recipe.kl.coef=0,1e-4", "seed=1,2")]) == 0
    folder = submission(programs)
    assert sorted(each.name for each in folder.glob("arguments.*")) == [f"arguments.{n}" for n in range(4)]
    for index in range(4):
        done = attempt(programs, folder, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID=str(index))
        assert done.returncode == 0
    names = {each.name for each in (programs / "runs").iterdir()} - {"submissions"}
    assert names == {f"demo--kl_coef_{kl}--seed_{seed}" for kl in ("0", "0.0001") for seed in (1, 2)}


def test_sweeps_take_each_value_with_each() -> None:
    assert combinations(["a=1", "seed=1"], []) == [["a=1", "seed=1"]]
    found = combinations(["experiment=demo", "seed=1,2", "recipe.kl.coef=choice(0,1)"], [])
    assert [each[-1] for each in found] == [f"name=demo--seed_{seed}--kl_coef_{kl}" for seed in (1, 2) for kl in (0, 1)]


def test_own_configuration_files_are_copied(programs: Path) -> None:
    (programs / "mine" / "experiment").mkdir(parents=True)
    text = (ROOT / "configs" / "experiment" / "demo.yaml").read_text().replace("name: demo", "name: mine")
    (programs / "mine" / "experiment" / "mine.yaml").write_text(text)
    assert main(["--config-dir", "mine", *demo()[1:], "experiment=mine"]) == 0
    folder = submission(programs)
    words = (folder / "arguments.0").read_bytes().decode().split("\0")
    assert words[1:3] == ["--config-dir", str(folder / "config-dir")]
    assert (folder / "config-dir" / "experiment" / "mine.yaml").read_text() == text
    assert main(["--dry-run", "--config-dir", "mine", *demo()[1:], "experiment=mine", "seed=1,2"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=dmeo"], "did you mean demo"),
        (["experiment=demo", "recipe.kl_cof=1"], "no such setting"),
        (["experiment=demo", "model.path=/nowhere"], "/nowhere"),
        (["experiment=demo", "cluster.partition='a b'"], "goes to sbatch"),
        (["experiment=demo", "+cluster.sbatch={Q: high}"], "'Q' is no option of sbatch"),
        (["--cfg", "job"], "--cfg: no option of this program"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    arguments: list[str], message: str, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model.path=" + str(ROOT / "examples" / "tiny_qwen2"), *arguments]) == 20
    assert re.search(message, capsys.readouterr().err)
    assert not (programs / "runs").exists()


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (None, ["PYTHON"]),
        (
            "pyxis:nvcr.io/x:1",
            ["--container-image=nvcr.io/x:1", "--container-mounts=/data:/data,/a:/b,/w:/w,/w/s:/w/s",
             "--no-container-mount-home", "--container-workdir=/w", "python"],
        ),
        (
            "apptainer:/images/x.sif",
            ["apptainer", "exec", "--nv", "--bind", "/data", "--bind", "/a:/b", "--bind", "/w", "--bind", "/w/s",
             "--pwd", "/w", "/images/x.sif", "python"],
        ),
    ],
)  # fmt: skip
def test_containers(container: str | None, expected: list[str]) -> None:
    cluster = ClusterConfig(container=container, mounts=["/data", "/a:/b"], gpus_per_node=1)
    job = SlurmJob(
        name="x", submission=Path("/w/s"), working_directory=Path("/w"), python="PYTHON", cluster=cluster, tasks=[]
    )
    assert job.step_options() == expected


def test_a_container_of_an_unknown_kind() -> None:
    job = SlurmJob(
        name="x", submission=Path("/w/s"), working_directory=Path("/w"), python="p",
        cluster=ClusterConfig(container="docker:x"), tasks=[],
    )  # fmt: skip
    with pytest.raises(ConfigError, match="pyxis:IMAGE and apptainer:IMAGE work"):
        job.step_options()


def test_flags_that_make_no_sense_here() -> None:
    assert divided(["-m", "a=1", "--config-dir=/x", "b=2"]) == (["--config-dir", "/x"], ["a=1", "b=2"])
    with pytest.raises(ConfigError, match="--info"):
        divided(["--info", "a=1"])


@pytest.mark.parametrize("search", ["hydra/sweeper=optuna", "recipe.kl.coef=interval(0,1)"])
def test_a_search_is_no_array(search: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(search)}: .*prorl_mega\.train -m hydra/sweeper=optuna"):
        combinations(["experiment=demo", search], [])
