"""One job of a sweep: it runs a command, and has it save and end in time to go on later.

submitit's signal for "time is up" or "others need the machine" comes while the job waits for its
command; the handler then asks the job for a `checkpoint`, and queues that. Slurm ends what still
runs some time after the signal, so the job waits for the command only as long as it may.

The command is a session of its own, for one Ctrl-C in a terminal would reach it, and then the job's
SIGTERM, and a trainer may take a second one for "at once". The job tells it once, and nobody else
does. Nothing here imports jax: a job only waits beside the command that has the device.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mjx_s2r.runtime.signals import handled

ROOT = Path(__file__).parents[2]
POLL_S = 0.1
KILLED_S = 10.0  # longest wait for a command that was killed
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # signals that ask a job to end
STOPPED = (130, -signal.SIGTERM)  # how a trainer ends that was told to, once it runs and before

Settings = tuple[tuple[str, str | None], ...]
"""Variables of the environment as (name, value); None takes one away."""


@dataclass
class _Running:
    """The command that runs now, and whether it was asked to end."""

    process: subprocess.Popen[bytes] | None = None
    asked: bool = False
    told: bool = False

    def ask(self) -> None:
        """Asks the command to save and end, once; before it has begun, as soon as it has."""
        self.asked = True
        if self.process is not None and not self.told:
            self.told = True
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def ended(self, within_s: float) -> bool:
        """Returns whether the command ends in a time; True where none has begun."""
        # Not Popen.wait: it holds a lock, and this may run in a signal's handler in its middle.
        until_s = time.monotonic() + within_s
        while self.process is not None and self.process.poll() is None:
            if time.monotonic() >= until_s:
                return False
            time.sleep(POLL_S)
        return True

    def stop(self, within_s: float) -> None:
        """Ends the command: asks first, and kills it and its own where that takes too long."""
        if self.ended(0.0):
            return
        self.ask()
        if self.process is not None and not self.ended(within_s):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.ended(KILLED_S)


@dataclass(frozen=True)
class Job:
    """One command of a sweep, for submitit: it can be called, pickled, stopped and called again.

    Attributes:
        line: the command; told twice, it goes on where it was.
        settings: variables of its environment that differ from the job's.
        grace_s: longest wait for it to save and end, s.
    """

    line: tuple[str, ...]
    settings: Settings = ()
    grace_s: float = 20.0
    _running: _Running = field(default_factory=_Running, init=False, repr=False, compare=False)

    def __call__(self) -> int:
        """Runs the command from the checkout; returns its exit status."""
        running = self._running
        with handled(_asking(), lambda *_: running.ask()):
            try:
                with held(*_for_job_only()):
                    running.process = self._start()
                if running.asked:
                    running.ask()
                running.ended(within_s=float("inf"))
            finally:  # also where a signal's handler raises
                running.stop(self.grace_s)
            status = int(running.process.returncode)
            if running.asked and status in STOPPED and _by_slurm():
                _wait_for_slurm()
        return status

    def checkpoint(self) -> Any:
        """Has the command save and end; returns what submitit shall queue: this job, anew."""
        from submitit.helpers import DelayedSubmission

        self._running.asked = True  # also where nothing has begun
        self._running.stop(self.grace_s)
        return DelayedSubmission(replace(self))

    def _start(self) -> subprocess.Popen[bytes]:
        """Starts the command."""
        env = dict(os.environ) | {n: value for n, value in self.settings if value is not None}
        for name in (n for n, value in self.settings if value is None):
            env.pop(name, None)
        return subprocess.Popen(self.line, cwd=ROOT, env=env, start_new_session=True)


@contextmanager
def held(*numbers: signal.Signals) -> Iterator[None]:
    """Holds signals back for a while; a process that is started meanwhile never gets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _asking() -> list[signal.Signals]:
    """Returns the signals that ask this job to end: none that is ignored, nor submitit's own."""
    return [n for n in ENDING if n != _preemption() and signal.getsignal(n) != signal.SIG_IGN]


def _preemption() -> signal.Signals:
    """Returns the signal on which submitit asks for a checkpoint."""
    name = "SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    return getattr(signal, name, signal.SIGUSR2)


def _for_job_only() -> tuple[signal.Signals, ...]:
    """Returns what the command must never get: a trainer that knows no such signal would die."""
    return () if _preemption() in ENDING else (_preemption(),)


def _by_slurm() -> bool:
    """Returns whether SLURM runs this job."""
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"


def _wait_for_slurm() -> None:
    """Waits for the signal that ends this job.

    SLURM sends SIGTERM ahead of the signal that queues the job again, and ahead of SIGKILL. A job
    that ended in between would count as done, and would not be queued again.
    """
    while True:
        signal.pause()
