"""The files that start a training on a cluster do what their heads say, before a stand-in cluster.

Commands of the cluster are replaced by scripts that write down how they were called.
"""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from mjx_s2r import hosts

LAUNCH = Path(__file__).parents[1] / "launch"


def stand_in(folder: Path, name: str, body: str) -> None:
    """Makes a command that notes its arguments, one call a line, and does ``body``."""
    file = folder / name
    file.write_text(f'#!/bin/bash\necho "{name} $(printf "%q " "$@")" >> {folder}/calls\n{body}\n')
    file.chmod(0o755)


def call(
    folder: Path, script: str, *options: str, **env: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Runs a launch file among the stand-ins of ``folder``; returns the end and the calls."""
    done = subprocess.run(
        ["bash", str(LAUNCH / script), *options],
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    noted = folder / "calls"
    lines = noted.read_text().splitlines() if noted.exists() else []
    return done, [shlex.split(line) for line in lines]


@pytest.mark.parametrize("status", [0, 1, 130])
def test_slurm_starts_one_task_per_node_and_queues_what_was_stopped(
    tmp_path: Path, status: int
) -> None:
    stand_in(tmp_path, "srun", f"exit {status}")
    stand_in(tmp_path, "scontrol", "")
    slurm = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "17"}
    options = ("--task", "reach", "--run", "runs/a b")
    done, calls = call(tmp_path, "slurm.sh", *options, **slurm)
    assert done.returncode == status, done.stderr
    start = ["srun", "--kill-on-bad-exit=1", ".venv/bin/python", "-m", "train", "teacher"]
    assert calls[0] == [*start, *options]
    assert calls[1:] == ([["scontrol", "requeue", "17"]] if status == 130 else [])


def test_slurm_goes_on_with_a_run_that_is_there(tmp_path: Path) -> None:
    stand_in(tmp_path, "srun", "")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "config.json").write_text("{}")
    slurm = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "17"}
    for options in (("--run", "runs"), ("--run=runs", "--seed", "1")):
        _, calls = call(tmp_path, "slurm.sh", *options, **slurm)
        assert calls[-1][-1] == "--resume"


def test_tpu_runs_the_same_command_on_every_host(tmp_path: Path) -> None:
    """The command that the hosts get resumes where there is a run, and keeps every argument."""
    stand_in(tmp_path, "gcloud", "")
    where = {"PROJECT": "p", "ZONE": "z", "NAME": "n"}
    done, calls = call(tmp_path, "tpu.sh", "train", "--run", "/x y/r", "--ppo.worlds", "8", **where)
    assert done.returncode == 0, done.stderr
    assert calls[0][:6] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "n"]
    assert "--worker=all" in calls[0]
    command = calls[0][calls[0].index("--command") + 1]
    home, run = tmp_path / "home", tmp_path / "x y" / "r"
    python = home / "mjx_s2r" / ".venv" / "bin"
    python.mkdir(parents=True)
    stand_in(python, "python", 'echo "$@"')
    for resume in (False, True):
        if resume:
            run.mkdir(parents=True)
            (run / "config.json").write_text("{}")
        said = subprocess.run(
            ["bash", "-c", command.replace("/x\\ y", f"{tmp_path}/x\\ y")],
            env=os.environ | {"HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        expected = f"-m train teacher --run {run} --ppo.worlds 8" + " --resume" * resume
        assert said.stdout.strip() == expected, said.stderr


@pytest.mark.parametrize("options", [("train", "--task", "reach"), ("fly",), ()])
def test_tpu_says_what_is_missing(tmp_path: Path, options: tuple[str, ...]) -> None:
    stand_in(tmp_path, "gcloud", "exit 1")
    done, _ = call(tmp_path, "tpu.sh", *options, PROJECT="p", ZONE="z", NAME="n")
    assert done.returncode != 0 and done.stderr


def test_kubernetes_sets_what_join_reads() -> None:
    text = (LAUNCH / "kubernetes.yaml").read_text()
    values = {}
    for name in (hosts.ADDRESS_ENV, hosts.COUNT_ENV, hosts.HEARTBEAT_ENV):
        after = text.split(f"- name: {name}\n", 1)[1].split("\n", 1)[0]
        values[name] = after.split("value:", 1)[1].strip().strip('"')
    found = hosts.detect(values | {"JOB_COMPLETION_INDEX": "1"})
    assert found is not None and found.address == "mjx-s2r-0.mjx-s2r:8476"
    assert found.count == 2 and f"completions: {found.count}" in text
    assert f"parallelism: {found.count}" in text and "completionMode: Indexed" in text
