"""The jobs of a sweep: a GPU for each, stopped together, and what submitit makes of them."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mjx_s2r.io.run import RunError
from train.sweeping.engine import executor, grace_s, numbers, places, run_all, slurm_options
from train.sweeping.job import ROOT, Job

pytestmark = pytest.mark.usefixtures("plain_signals")

GPU = "CUDA_VISIBLE_DEVICES"
FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"

# Writes what it sees of the GPUs, and takes a while.
LOOKS = """
import os, sys, time
seen = [os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION")]
began = time.time()
time.sleep(0.3)
open(sys.argv[1], "w").write(repr([*seen, began, time.time()]))
"""

# Stands for a trainer: the first time it sends a signal, and saves when it is told to end.
TRAINER = """
import os, signal, sys, time
log, whom, name = sys.argv[1:]
def say(text):
    with open(log, "a") as file:
        file.write(text + " ")
def end(*_):
    say("told")
    time.sleep(1.5)
    say("saved")
    if name == "SIGTERM":  # SLURM's own signal comes later
        os.system(f"(sleep 1; kill -USR2 {os.getppid()}) > /dev/null 2>&1 &")
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
if os.path.exists(log):
    say("done")
    sys.exit(0)
say("began")
os.kill(int(whom) or os.getppid(), getattr(signal, name))
for _ in range(3000):
    time.sleep(0.01)
say("never told")
"""


class FakeJob:
    """A job of the fake engine: a process of its own, as submitit's on this machine."""

    def __init__(self, job: Job, folder: Path, count: int) -> None:
        """Starts it; like submitit's, it sees no GPU."""
        file = folder / f"{count}.pkl"
        file.write_bytes(pickle.dumps(job))
        code = "import pickle, sys; sys.exit(pickle.load(open(sys.argv[1], 'rb'))())"
        line = [sys.executable, "-c", code, str(file)]
        self._process = subprocess.Popen(line, cwd=ROOT, env=dict(os.environ) | {GPU: ""})
        self.job_id = str(self._process.pid)
        self.paths = SimpleNamespace(stderr=file.with_suffix(".err"))

    def done(self) -> bool:
        """Returns whether it has ended."""
        return self._process.poll() is not None

    def result(self) -> int:
        """Returns the command's exit status."""
        return self._process.wait()


class FakeEngine:
    """Starts jobs as submitit does on this machine."""

    cluster = "local"

    def __init__(self, folder: Path) -> None:
        """Keeps its files in a folder."""
        self._folder, self._count = folder, 0
        folder.mkdir()

    def submit(self, job: Job) -> FakeJob:
        """Starts a job."""
        self._count += 1
        return FakeJob(job, self._folder, self._count)


@pytest.fixture(params=["fake", "submitit"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The fake engine, and submitit's where it is installed."""
    if request.param == "fake":
        return FakeEngine(tmp_path / "jobs")
    pytest.importorskip("submitit")
    return executor(tmp_path / "jobs", "local", 0.1, {})


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing of GPUs."""
    for name in (GPU, FRACTION, "XLA_CLIENT_MEM_FRACTION", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)


def test_numbers() -> None:
    assert numbers("gpus", "0..2, 5") == ("0", "1", "2", "5")
    with pytest.raises(RunError, match=r"gpus '0\.\.': '0\.\.' is neither .* write 0\.\.3 or 1,5"):
        numbers("gpus", "0..")


@pytest.mark.usefixtures("bare")
def test_as_many_runs_as_gpus_one_on_each() -> None:
    found = [dict(place) for place in places("0..7", 0, 20)]
    assert [place[GPU] for place in found] == list("01234567")
    assert all(place["JAX_PLATFORMS"] == "cuda,cpu" and FRACTION not in place for place in found)
    assert len(places("0..7", 3, 20)) == 3 and len(places("0..7", 0, 2)) == 2


@pytest.mark.usefixtures("bare")
def test_more_runs_than_gpus_share_them_and_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [dict(place) for place in places("2,3", 5, 20)]
    assert [place[GPU] for place in found] == ["2", "3", "2", "3", "2"]
    assert [place[FRACTION] for place in found] == ["0.3", "0.45", "0.3", "0.45", "0.3"]
    assert all(FRACTION not in dict(place) for place in places("2,3", 5, 2)), "two runs, no sharing"
    for name in (FRACTION, "XLA_CLIENT_MEM_FRACTION"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "0.2")
            assert all(FRACTION not in dict(place) for place in places("2,3", 5, 20))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert dict(places("0", 0, 1)[0])["JAX_PLATFORMS"] == "cpu"


@pytest.mark.usefixtures("bare")
def test_without_gpus_a_run_is_told_what_the_sweep_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert places("", 0, 20) == [((GPU, None),)]
    monkeypatch.setenv(GPU, "4,5")
    assert places("", 3, 20) == [((GPU, "4,5"),)] * 3


@pytest.mark.usefixtures("bare")
def test_gpus_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="at_once -1"):
        places("0", -1, 4)
    with pytest.raises(RunError, match="gpus 'all'"):
        places("all", 0, 4)
    monkeypatch.setenv(GPU, "4,5")
    assert dict(places("5", 0, 1)[0])[GPU] == "5"
    with pytest.raises(RunError, match="'4,5' and hides 0"):
        places("0,4", 0, 4)


def test_options_of_slurm() -> None:
    found = slurm_options(["gpus_per_node=1", "partition=gpu", "signal_delay_s=300"])
    assert found == {"gpus_per_node": 1, "partition": "gpu", "signal_delay_s": 300}
    assert (grace_s("slurm", found), grace_s("slurm", {}), grace_s("local", {})) == (200, 60, 20)
    with pytest.raises(RunError, match="slurm 'gpu': write name=value"):
        slurm_options(["gpu"])
    with pytest.raises(RunError, match="signal_delay_s=long: write whole seconds"):
        grace_s("slurm", slurm_options(["signal_delay_s=long"]))


def test_without_submitit_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(RunError, match=r"pip install 'submitit>=1\.5'"):
        executor(tmp_path, "local", 1.0, {})


def test_without_slurm_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"no srun.*--where local"):
        executor(tmp_path, "slurm", 1.0, {})


@pytest.mark.usefixtures("bare")
def test_jobs_run_each_on_its_gpu_and_their_failures_are_told(tmp_path: Path, engine: Any) -> None:
    """Five runs on two GPUs: never two at the same time on one, and a run that fails frees its."""
    lines = {n: [sys.executable, "-c", LOOKS, str(tmp_path / n)] for n in "abcd"}
    lines = {"bad": [sys.executable, "-c", "raise SystemExit(3)"]} | lines
    became = run_all(lines, engine, places("1,4", 0, 5), 5.0)
    assert became == {"bad": "exit status 3"} | dict.fromkeys("abcd", "ended")
    seen = [eval((tmp_path / n).read_text()) for n in "abcd"]
    for gpu in "14":
        spans = sorted((began, ended) for own, _, began, ended in seen if own == gpu)
        assert spans and all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert {own for own, *_ in seen} == {"1", "4"} and {share for _, share, *_ in seen} == {None}


@pytest.mark.usefixtures("bare")
def test_without_gpus_a_job_sees_all_of_them(tmp_path: Path, engine: Any) -> None:
    lines = {"a": [sys.executable, "-c", LOOKS, str(tmp_path / "a")]}
    assert run_all(lines, engine, places("", 0, 1), 5.0) == {"a": "ended"}
    assert (tmp_path / "a").read_text().startswith("[None, None")


def test_stopped_a_sweep_waits_until_its_runs_have_saved(tmp_path: Path, engine: Any) -> None:
    """Ctrl-C comes while one of three runs; it saves and ends, and the others never begin."""
    me = str(os.getpid())
    lines = {n: [sys.executable, "-c", TRAINER, str(tmp_path / n), me, "SIGINT"] for n in "abc"}
    with pytest.raises(KeyboardInterrupt):
        run_all(lines, engine, [()], 5.0)
    assert (tmp_path / "a").read_text().split() == ["began", "told", "saved"]
    assert not (tmp_path / "b").exists() and not (tmp_path / "c").exists()


def test_ctrl_c_in_a_terminal_lets_a_run_save(tmp_path: Path) -> None:
    """A terminal signals all that it started: submitit's processes, and not only the sweep."""
    pytest.importorskip("submitit")
    log = tmp_path / "log"
    line = [sys.executable, "-c", TRAINER, str(log), "0", "SIGCONT"]
    code = (
        "from pathlib import Path; from train.sweeping.engine import executor, run_all;"
        f"engine = executor(Path({str(tmp_path / 'jobs')!r}), 'local', 0.1, {{}});"
        f"run_all({{'a': {line!r}}}, engine, [()], 5.0)"
    )
    sweep = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not (log.exists() and log.read_text()):  # a file is empty before its first word
        assert sweep.poll() is None, sweep.communicate()[0].decode()
        time.sleep(0.1)
    os.killpg(sweep.pid, signal.SIGINT)
    said = sweep.communicate(timeout=60)[0].decode()
    assert "stopping 1 runs" in said and "KeyboardInterrupt" in said
    assert log.read_text().split() == ["began", "told", "saved"]
    with pytest.raises(ProcessLookupError):  # nothing of it is left
        os.killpg(sweep.pid, 0)


# Stands for SLURM: a job's script runs once more after each `scontrol requeue`.
SLURM = {
    "sbatch": """
export SLURM_JOB_ID=7 SLURM_NTASKS=1 SLURM_PROCID=0
( while rm -f "$FAKE_SLURM/again"; bash "$1"; [ -e "$FAKE_SLURM/again" ]; do :; done
) > "$FAKE_SLURM/log" 2>&1 &
echo Submitted batch job 7""",
    "srun": 'while [ "${1#--}" != "$1" ]; do [ "$1" = --unbuffered ] || shift; shift; done\n"$@"',
    "scontrol": 'echo "$@" >> "$FAKE_SLURM/requeued"; touch "$FAKE_SLURM/again"',
    "sacct": "echo 'JobID|State'; echo '7|RUNNING'",
}


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGTERM"])
def test_slurm_queues_a_job_again_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Real submitit over a stand-in for SLURM, which may send SIGTERM ahead of its signal."""
    pytest.importorskip("submitit")
    for command, text in SLURM.items():
        (tmp_path / command).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    engine = executor(tmp_path / "jobs", "slurm", 0.1, slurm_options(["partition=gpu"]))
    log = tmp_path / "run"
    lines = {"a": [sys.executable, "-c", TRAINER, str(log), "0", name]}
    assert run_all(lines, engine, [()], 5.0) == {"a": "ended"}, (tmp_path / "log").read_text()
    assert log.read_text().split() == ["began", "told", "saved", "done"]
    assert (tmp_path / "requeued").read_text().split() == ["requeue", "7"]
    script = (tmp_path / "jobs" / "7_submission.sh").read_text()
    assert "--partition=gpu" in script and "--signal=USR2@90" in script


def test_an_option_that_slurm_does_not_know_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"slurm gpus_per_nod.*Unknown argument"):
        executor(tmp_path / "jobs", "slurm", 0.1, {"gpus_per_nod": 1})


@pytest.mark.parametrize(
    ("hours", "became", "said"), [(0.1, "out of time", ""), (1.0, "ended", " done")]
)
def test_on_this_machine_a_run_is_begun_again_unless_its_time_is_up(
    tmp_path: Path, hours: float, became: str, said: str
) -> None:
    """Submitit takes its signal for the end of the time where little was given."""
    pytest.importorskip("submitit")
    engine = executor(tmp_path / "jobs", "local", hours, {})
    log = tmp_path / "run"
    lines = {"a": [sys.executable, "-c", TRAINER, str(log), "0", "SIGUSR2"]}
    assert run_all(lines, engine, [()], 5.0) == {"a": became}
    assert log.read_text().strip() == f"began told saved{said}"
