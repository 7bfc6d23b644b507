"""The files that start a training on a cluster do what their heads say, before a stand-in cluster.

Commands of the cluster are replaced by scripts that write down how they were called, and refuse
what the real ones refuse. The host of a TPU slice is a folder of this machine.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mjx_s2r.runtime import distributed

yaml: Any = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
TIMEOUT_S = 30
SLURM = {"SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "16", "MJX_S2R_VENV": sys.prefix}
RUNNING, CANCELLED = '["RUNNING"]', '["CANCELLED", "COMPLETING"]'
QUEUED = '["PENDING", "COMPLETING"]'
TPU = {"PROJECT": "p", "ZONE": "z", "NAME": "n", "WAIT_S": "0", "BUCKET": "gs://b", "SPOT": ""}
VERBS = "create, setup, train, log, stop or delete"
NO_GCSFUSE = pytest.mark.skipif(bool(shutil.which("gcsfuse")), reason="this machine has one")

# The real program's verbs with those of their options that there is a use for. It takes the states
# of a request one by one from a file, and runs on this machine what a host is told to run.
GCLOUD = """
import os, subprocess, sys
from argparse import ArgumentParser
from pathlib import Path

here, words = Path(__file__).parent, sys.argv[1:5]
options = {
    "compute tpus queued-resources create": "--node-id --accelerator-type --runtime-version --spot",
    "compute tpus queued-resources describe": "--format",
    "compute tpus queued-resources delete": "--force --quiet",
    "compute tpus tpu-vm ssh": "--worker --command",
    "compute tpus tpu-vm scp": "--worker",
}
if not all(sys.argv) or " ".join(words) not in options:
    sys.exit(f"gcloud: unrecognized arguments: {sys.argv[1:]}")
parser, verb = ArgumentParser("gcloud", allow_abbrev=False), words[3]
for option in [*options[" ".join(words)].split(), "--project", "--zone"]:
    flag = option in ("--spot", "--force", "--quiet")
    parser.add_argument(option, **({"action": "store_true"} if flag else {"required": True}))
parser.add_argument("names", nargs=2 if verb == "scp" else 1)
told, asked = parser.parse_args(sys.argv[5:]), here / "asked"
if verb == "create":
    (here / "states").rename(asked)
elif verb == "describe":
    now, *rest = asked.read_text().split() if asked.exists() else ["error"]
    if rest:
        asked.write_text(" ".join(rest))
    print(now) if now != "error" else sys.exit("ERROR: NOT_FOUND")
elif verb == "scp":
    file = Path(told.names[0])
    (here / "home" / file.name).write_bytes(file.read_bytes())
elif verb == "ssh":
    home = {**os.environ, "HOME": str(here / "home")}
    sys.exit(subprocess.run(["bash", "-c", told.command], env=home).returncode)
"""
TRAINER = """
trap 'echo saved; exit 130' TERM
echo "trains $*, heartbeat $MJX_S2R_HEARTBEAT_S"
until [[ -e finish ]]; do sleep 0.05; done
"""


def stand_in(folder: Path, name: str, body: str) -> None:
    """Makes a command that notes its arguments, one call a line, and does ``body``."""
    (folder / "calls").touch()
    file = folder / name
    file.write_text(f'#!/bin/bash\necho "{name} $(printf "%q " "$@")" >> {folder}/calls\n{body}\n')
    file.chmod(0o755)


def calls_of(folder: Path) -> list[list[str]]:
    """Returns what the stand-ins noted."""
    return [shlex.split(line) for line in (folder / "calls").read_text().splitlines()]


def start(folder: Path, script: str, *options: str, **env: str) -> subprocess.Popen[str]:
    """Starts a launch file among the stand-ins of ``folder``."""
    pipe = subprocess.PIPE
    line = ["bash", str(LAUNCH / script), *options]
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.Popen(line, env=os.environ | path | env, stdout=pipe, stderr=pipe, text=True)


def call(folder: Path, script: str, *options: str, **env: str) -> tuple[int, str]:
    """Runs a launch file among the stand-ins of ``folder``; returns its status and its words."""
    child = start(folder, script, *options, **env)
    try:
        return child.wait(TIMEOUT_S), "".join(child.communicate(timeout=TIMEOUT_S))
    finally:
        child.kill()


def wait_for(what: Callable[[], object]) -> None:
    """Waits until ``what`` is so."""
    deadline = time.time() + TIMEOUT_S
    while not what():
        assert time.time() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("script", sorted(f.name for f in LAUNCH.glob("*.sh")))
def test_scripts_are_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(LAUNCH / script)], check=True, timeout=TIMEOUT_S)
    assert os.access(LAUNCH / script, os.X_OK)


def slurm(folder: Path, srun: str, states: str) -> dict[str, str]:
    """Makes a stand-in of SLURM, whose job is in ``states``; returns the job's environment."""
    job = f'{{"jobs": [{{"job_state": {states}}}]}}' if states else "no JSON here"
    stand_in(folder, "srun", f'echo "cpus $SRUN_CPUS_PER_TASK" >> {folder}/env\n{srun}')
    show, requeue = f"'--json show job 17') echo '{job}' ;;", "'requeue 17') ;;"
    stand_in(folder, "scontrol", f'case "$*" in {show} {requeue} *) exit 1 ;; esac')
    return SLURM | {"SLURM_SUBMIT_DIR": str(folder)}


@pytest.mark.parametrize(
    ("status", "states", "again"),
    [
        (0, RUNNING, False),
        (1, RUNNING, False),
        (137, RUNNING, False),  # out of memory: it would be so again
        (130, RUNNING, True),  # the time limit is near: saved
        (143, RUNNING, True),  # the same, before the trainer listened
        (143, '"RUNNING"', True),  # as older versions write it
        (143, "", True),  # a version that cannot write JSON
        (130, CANCELLED, False),
        (143, CANCELLED, False),
        (130, QUEUED, False),  # preempted: SLURM has queued it
    ],
)
def test_slurm_queues_what_was_stopped_and_not_cancelled(
    tmp_path: Path, status: int, states: str, again: bool
) -> None:
    env = slurm(tmp_path, f"exit {status}", states)
    done, words = call(tmp_path, "slurm.sh", "--run", "runs/a b", **env)
    assert done == status, words
    assert (["scontrol", "requeue", "17"] in calls_of(tmp_path)) == again, words


@pytest.mark.parametrize(
    ("states", "again"),
    [
        ('["TIMEOUT", "COMPLETING"]', True),  # the time limit came before all was saved
        ('["PREEMPTED", "COMPLETING"]', True),
        (QUEUED, False),
        (CANCELLED, False),
        ("", False),
    ],
)
def test_slurm_queues_at_once_when_the_whole_job_is_ended(
    tmp_path: Path, states: str, again: bool
) -> None:
    """SLURM sends SIGTERM to the shell, too, and may kill all before the trainer has saved."""
    wait = f"touch {tmp_path}/runs; until [[ -e {tmp_path}/go ]]; do sleep 0.01; done; exit 130"
    child = start(tmp_path, "slurm.sh", **slurm(tmp_path, wait, states))
    try:
        wait_for((tmp_path / "runs").exists)
        child.send_signal(signal.SIGTERM)
        wait_for(lambda: len(calls_of(tmp_path)) == 2 + again)
        assert child.poll() is None  # it waits for the trainer
        (tmp_path / "go").touch()
        words = child.communicate(timeout=TIMEOUT_S)[1]
    finally:
        (tmp_path / "go").touch()
        child.kill()
    assert child.returncode == 130 and "again" in words
    assert calls_of(tmp_path)[2:] == ([["scontrol", "requeue", "17"]] if again else [])


@pytest.mark.parametrize(
    ("named", "verb"), [({}, "teacher"), ({"MJX_S2R_VERB": "student"}, "student")]
)
def test_slurm_starts_the_trainer_with_its_cores_and_time_to_save(
    tmp_path: Path, named: dict[str, str], verb: str
) -> None:
    options = ["--task", "reach", "--run", "runs/a b"]
    call(tmp_path, "slurm.sh", *options, **slurm(tmp_path, "", RUNNING) | named)
    (command,) = calls_of(tmp_path)
    # one that ends must not have the others killed before they end by themselves
    assert command[:3] == ["srun", "--kill-on-bad-exit=0", "--wait=120"]
    trainer = [f"{sys.prefix}/bin/python", "-m", "train", verb, "--resume"]
    assert command[3:] == [*trainer, *options]
    assert (tmp_path / "env").read_text() == "cpus 16\n"
    head = (LAUNCH / "slurm.sh").read_text().split("\nset ")[0]  # sbatch reads no further
    directives = set(re.findall(r"^#SBATCH (--\S+)$", head, re.M))
    # without B: the trainer gets the signal, not the shell
    assert {"--signal=TERM@300", "--requeue", "--open-mode=append"} <= directives


@pytest.fixture
def tpu(tmp_path: Path) -> Iterator[Path]:
    """A stand-in of gcloud, whose host has this checkout; ends the training that it started."""
    (tmp_path / "gcloud.py").write_text(GCLOUD)
    stand_in(tmp_path, "gcloud", f'exec {sys.executable} {tmp_path}/gcloud.py "$@"')
    checkout = tmp_path / "home" / "mjx_s2r"
    (checkout / ".venv/bin").mkdir(parents=True)
    shutil.copytree(LAUNCH, checkout / "launch")
    stand_in(checkout / ".venv/bin", "python", TRAINER)
    stand_in(checkout / ".venv/bin", "pip", "")
    yield tmp_path
    (checkout / "finish").touch()
    free = ["flock", "-w", str(TIMEOUT_S), str(checkout / "train.lock"), "true"]
    subprocess.run(free, check=True, timeout=2 * TIMEOUT_S)


@pytest.mark.parametrize("spot", ["", "1"])
def test_tpu_asks_once_and_waits(tpu: Path, spot: str) -> None:
    (tpu / "states").write_text("WAITING_FOR_RESOURCES PROVISIONING error ACTIVE")
    for expected in ("PROVISIONING", "asked for already"):
        done, words = call(tpu, "tpu.sh", "create", **TPU | {"SPOT": spot})
        assert done == 0 and expected in words, words
    (asked,) = [c for c in calls_of(tpu) if c[4] == "create"]
    assert ("--spot" in asked) == bool(spot)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("FAILED", r"n is FAILED.*queued-resources describe n .* delete, then create"),
        *((s, f"n is {s}.* create and setup") for s in ("SUSPENDING", "SUSPENDED", "DELETING")),
        ("error", r"the state of n is not to be had; run create again"),
    ],
)
def test_tpu_that_will_not_come_is_not_waited_for(tpu: Path, state: str, words: str) -> None:
    (tpu / "states").write_text(f"PROVISIONING {state}")
    done, said = call(tpu, "tpu.sh", "create", **TPU)
    assert done == 1 and re.search(words, said), said


def test_tpu_trains_without_a_connection_until_it_is_stopped(tpu: Path) -> None:
    options = ("--run", "/runs/a b", "--ppo.num-envs", "8")
    done, words = call(tpu, "tpu.sh", "train", *options, **TPU, MJX_S2R_HEARTBEAT_S="7")
    assert done == 0, words  # and nothing waits for the words of the trainer
    log = tpu / "home" / "mjx_s2r" / "train.log"
    expected = "trains -m train teacher --resume --run /runs/a b --ppo.num-envs 8, heartbeat 7"
    wait_for(lambda: expected in log.read_text())
    pid = int((log.parent / "train.pid").read_text())
    assert os.getsid(pid) != os.getsid(0)

    done, words = call(tpu, "tpu.sh", "train", "--run", "/runs/b", **TPU)
    assert done == 1 and "runs here already" in words and log.read_text().count("heartbeat") == 1
    done, words = call(tpu, "tpu.sh", "stop", **TPU)
    assert done == 0 and "ended with status 130" in words, words
    assert "saved\n" in log.read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    for verb, expected in (("stop", "no training runs"), ("train", "started")):
        done, words = call(tpu, "tpu.sh", verb, "--run=/runs/b", **TPU)
        assert done == 0 and expected in words
    wait_for(lambda: log.read_text().count("heartbeat") == 2)  # the log of the first one is kept
    call(tpu, "tpu.sh", "stop", **TPU)
    call(tpu, "tpu.sh", "train", "--run=/runs/c", **TPU, MJX_S2R_VERB="student")
    wait_for(lambda: "-m train student --resume --run=/runs/c" in log.read_text())
    assert all("--worker=all" in c for c in calls_of(tpu)) and len(calls_of(tpu)) == 7


def test_tpu_shows_the_log_of_one_host_and_is_deleted(tpu: Path) -> None:
    (tpu / "home" / "mjx_s2r" / "train.log").write_text("iteration 5\n")
    stand_in(tpu, "tail", 'exec cat "${@: -1}"')
    done, words = call(tpu, "tpu.sh", "log", **TPU, WORKER="1")
    assert done == 0 and "iteration 5" in words and "--worker=1" in calls_of(tpu)[0]
    done, words = call(tpu, "tpu.sh", "delete", **TPU)
    assert done == 0 and "--force" in calls_of(tpu)[-1], words


def host(tpu: Path, **bodies: str) -> None:
    """Makes stand-ins of what `setup` uses, which work but for those with a body of their own."""
    usual = dict.fromkeys(
        ("gcsfuse", "mount", "tar", "apt-get", "python3.11", "mkdir", "chown"), ""
    )
    usual |= {"git": 'echo x >"${3#--output=}"', "mountpoint": "exit 1"}
    usual |= {"sudo": 'exec "$@"', "hostname": "echo host0"}
    for name, body in (usual | bodies).items():
        stand_in(tpu, name, body)


@pytest.mark.parametrize(
    ("disk", "mounted"),
    [
        ({}, "gcsfuse --rename-dir-limit=10000 b"),
        ({"SHARE": "10.0.0.1:/my share"}, "mount -t nfs 10.0.0.1:/my share"),
    ],
)
def test_tpu_is_set_up(tpu: Path, disk: dict[str, str], mounted: str) -> None:
    host(tpu)
    (tpu / "runs").mkdir()
    done, words = call(tpu, "tpu.sh", "setup", **TPU | disk, RUNS=f"{tpu}/runs")
    assert done == 0, words
    lines = [" ".join(c) for c in calls_of(tpu)]
    assert f"{mounted} {tpu}/runs" in lines and not list((tpu / "runs").iterdir())
    installs = [line for line in lines if line.startswith("apt-get")]
    assert installs[0] == "apt-get update -q" and "libegl1" in installs[1]


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ({"apt-get": "exit 100"}, "apt-get cannot install python3.11-venv libegl1"),
        ({"gcsfuse": "exit 1"}, "gcsfuse cannot mount gs://b"),
        ({"touch": "exit 1"}, "/. cannot be written"),
        pytest.param({}, "there is no gcsfuse", marks=NO_GCSFUSE),
    ],
)
def test_tpu_says_why_a_host_cannot_be_set_up(
    tpu: Path, bodies: dict[str, str], words: str
) -> None:
    host(tpu, **bodies)
    if not bodies:
        (tpu / "gcsfuse").unlink()
    done, said = call(tpu, "tpu.sh", "setup", **TPU, RUNS="/.")
    assert done == 1 and f"error: host0: {words}" in said


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        (("train", "--task", "reach"), {}, "--run FOLDER"),
        (("setup",), {"BUCKET": ""}, "export BUCKET or SHARE"),
        (("delete",), {"ZONE": ""}, "ZONE"),
        (("fly",), {}, f"fly? {VERBS}"),
        ((), {}, VERBS),
    ],
)
def test_tpu_says_what_is_missing(
    tpu: Path, options: tuple[str, ...], env: dict[str, str], words: str
) -> None:
    done, said = call(tpu, "tpu.sh", *options, **TPU | env)
    assert done != 0 and words in said and not calls_of(tpu)


def kubernetes() -> tuple[Any, Any, Any]:
    """Returns the JobSet's specification, its job's and its pods'."""
    document = yaml.safe_load((LAUNCH / "kubernetes.yaml").read_text())
    assert (document["apiVersion"], document["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = [replicated["template"]["spec"] for replicated in document["spec"]["replicatedJobs"]]
    return document["spec"], job, job["template"]["spec"]


@pytest.mark.parametrize(
    ("status", "disrupted", "action"),
    [
        (130, True, "RestartJobSetAndIgnoreMaxRestarts"),  # evicted, and saved
        (137, True, "RestartJobSetAndIgnoreMaxRestarts"),  # evicted, and killed
        (130, False, "RestartJobSetAndIgnoreMaxRestarts"),  # another one was evicted
        (143, False, "RestartJobSetAndIgnoreMaxRestarts"),
        (1, False, "RestartJobSet"),  # lost another, or failed by itself
        (2, False, "RestartJobSet"),  # the others did not come
        (137, False, "RestartJobSet"),  # out of memory
    ],
)
def test_kubernetes_counts_failures_and_no_disruptions(
    status: int, disrupted: bool, action: str
) -> None:
    """The rules are read as the two controllers read them, the first that fits."""
    jobset, job, pod = kubernetes()
    reason = "BackoffLimitExceeded"
    for rule in reversed(job["podFailurePolicy"]["rules"]):
        codes = rule.get("onExitCodes", {"operator": "In", "values": []})
        assert rule["action"] == "FailJob" and codes["operator"] == "In"
        assert codes.get("containerName", "teacher") == pod["containers"][0]["name"]
        condition = {"type": "DisruptionTarget", "status": "True"} if disrupted else None
        if status in codes["values"] or condition in rule.get("onPodConditions", []):
            reason = "PodFailurePolicy"
    fitting = (r for r in jobset["failurePolicy"]["rules"] if reason in r["onJobFailureReasons"])
    assert next(fitting, {"action": "RestartJobSet"})["action"] == action
    assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert jobset["failurePolicy"]["restartStrategy"] == "BlockingRecreate"


def test_kubernetes_sets_what_join_reads() -> None:
    _, job, pod = kubernetes()
    (teacher,) = pod["containers"]
    values = {setting["name"]: setting["value"] for setting in teacher["env"]}
    found = distributed.detect(values | {"JOB_COMPLETION_INDEX": "1"})
    assert found is not None and found.address == "mjx-s2r-teacher-0-0.mjx-s2r:8476"
    assert found.count == job["completions"] == job["parallelism"]
    assert job["completionMode"] == "Indexed"
    assert (
        int(values[distributed.JOIN_ENV]) >= 3600 and int(values[distributed.HEARTBEAT_ENV]) <= 60
    )
    assert teacher["args"][:2] == ["teacher", "--resume"] and "command" not in teacher
    assert pod["terminationGracePeriodSeconds"] >= 300


def test_the_image_has_what_the_trainer_needs() -> None:
    text = (LAUNCH / "Dockerfile").read_text().replace("\\\n", " ")
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"mjx_s2r", "train", "pyproject.toml", project["readme"]} <= copied
    assert copied <= {f.name for f in ROOT.iterdir()}
    (extra,) = re.findall(r"pip install .*-c constraints.txt -e \"\.\[(\w+)\]\"", text)
    assert extra in project["optional-dependencies"]
    assert "libegl1 tini" in text and '\nENTRYPOINT ["tini", "--", "python", "-m", "train"]' in text
