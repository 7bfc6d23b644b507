"""A job of a sweep has its command save and end, waits for it, and can be started again."""

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

import pytest

from train.sweeping.job import ROOT, Job

pytestmark = pytest.mark.usefixtures("plain_signals")

# Stands for a trainer: argv is its log, what it does once it runs, and how long it takes to save.
TRAINER = """
import os, signal, sys, time
log, first, save_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
def say(text):
    with open(log, "a") as file:
        file.write(text + " ")
def end(*_):
    say("told")
    time.sleep(save_s)
    say("saved")
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
again = os.path.exists(log)
say("began")
if again:
    say("done")
    sys.exit(0)
os.kill(os.getppid(), getattr(signal, first))
for _ in range(3000):
    time.sleep(0.01)
say("never told")
"""


# Sends its parent a signal when a word is in its log; a while later after the last one.
SIGNALLER = """
import os, signal, sys, time
log, word, name = sys.argv[1:]
for _ in range(3000):
    if os.path.exists(log) and word in open(log).read():
        break
    time.sleep(0.01)
time.sleep(float(word == "saved"))
os.kill(os.getppid(), getattr(signal, name))
"""


class LeftError(Exception):
    """Stands for the SystemExit with which submitit's handler leaves a job."""


def trainer(tmp_path: Path, first: str, save_s: float = 0.3) -> Job:
    """Returns a job whose command sends its parent the signal ``first`` once it runs."""
    line = (sys.executable, "-c", TRAINER, str(tmp_path / "log"), first, str(save_s))
    return Job(line, grace_s=10.0)


def said(tmp_path: Path) -> list[str]:
    """Returns what the commands have written."""
    return (tmp_path / "log").read_text().split()


def signaller(tmp_path: Path, word: str, name: str) -> "subprocess.Popen[bytes]":
    """Starts what sends this process the signal ``name`` once the command has said a word."""
    return subprocess.Popen(
        [sys.executable, "-c", SIGNALLER, str(tmp_path / "log"), word, name], cwd=tmp_path
    )


@pytest.fixture(autouse=True)
def submitit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a stand-in in the place of a submitit that is not installed."""
    if importlib.util.find_spec("submitit") is None:
        helpers = ModuleType("submitit.helpers")
        vars(helpers)["DelayedSubmission"] = lambda function: SimpleNamespace(function=function)
        monkeypatch.setitem(sys.modules, "submitit", ModuleType("submitit"))
        monkeypatch.setitem(sys.modules, "submitit.helpers", helpers)


@contextmanager
def preemption(job: Job) -> Iterator[list[Any]]:
    """Does on SIGUSR2 what submitit's handler does; yields a list of what it would queue."""
    queued: list[Any] = []

    def handle(number: int, frame: FrameType | None) -> None:
        """Asks for a checkpoint, and leaves the job."""
        queued.append(job.checkpoint())
        raise LeftError

    before = signal.signal(signal.SIGUSR2, handle)
    try:
        yield queued
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_job_returns_the_status_and_sets_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code = (
        "import os, sys; e = os.environ;"
        f"open({str(tmp_path / 'log')!r}, 'a').write(str(e.get('CUDA_VISIBLE_DEVICES')) + ' ');"
        "sys.exit(3 if os.getsid(0) == os.getpid() and os.path.isdir('mjx_s2r') else 1)"
    )
    for value in ("5", None):
        job = Job((sys.executable, "-c", code), (("CUDA_VISIBLE_DEVICES", value),))
        assert pickle.loads(pickle.dumps(job)) == job
        assert job() == 3
    assert said(tmp_path) == ["5", "None"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_preempted_it_saves_first_and_goes_on_when_called_again(tmp_path: Path) -> None:
    job = trainer(tmp_path, "SIGUSR2")
    with preemption(job) as queued, pytest.raises(LeftError):
        job()
    assert said(tmp_path) == ["began", "told", "saved"]
    again = pickle.loads(pickle.dumps(queued[0].function))
    assert again == job and again() == 0
    assert said(tmp_path)[3:] == ["began", "done"]


def test_what_takes_too_long_to_save_is_killed_so_that_the_job_is_queued_in_time(
    tmp_path: Path,
) -> None:
    began_s = time.monotonic()
    job = replace(trainer(tmp_path, "SIGUSR2", save_s=60), grace_s=0.5)
    with preemption(job) as queued, pytest.raises(LeftError):
        job()
    assert said(tmp_path) == ["began", "told"] and len(queued) == 1
    assert time.monotonic() - began_s < 30


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_that_ends_a_job_ends_its_command_once(tmp_path: Path, name: str) -> None:
    """It comes a second time while the command saves, which a trainer would take for "at once"."""
    handler = signal.getsignal(getattr(signal, name))
    again = signaller(tmp_path, "told", name)
    assert trainer(tmp_path, name, save_s=1.0)() == 130
    assert again.wait() == 0
    assert said(tmp_path) == ["began", "told", "saved"]
    assert signal.getsignal(getattr(signal, name)) == handler


def test_a_job_that_is_to_survive_its_terminal_does(tmp_path: Path) -> None:
    code = "import os, signal, time; os.kill(os.getppid(), signal.SIGHUP); time.sleep(0.3)"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert Job((sys.executable, "-c", code))() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_command_never_gets_the_signal_that_is_for_the_job() -> None:
    """A cluster may signal every process of a job, and this signal would end a trainer at once."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2)"
    assert Job((sys.executable, "-c", code))() == 0


def test_under_slurm_a_job_told_to_end_waits_for_what_slurm_does_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM comes ahead of the signal that queues a job; one that ended before would be done."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    job, later = trainer(tmp_path, "SIGTERM"), signaller(tmp_path, "saved", "SIGUSR2")
    with preemption(job) as queued, pytest.raises(LeftError):
        job()
    assert later.wait() == 0
    assert said(tmp_path) == ["began", "told", "saved"] and len(queued) == 1


def test_a_job_loads_no_jax() -> None:
    """It waits beside a trainer that wants the memory and the device."""
    code = "import sys, train.sweeping.job; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
