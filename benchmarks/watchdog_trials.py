"""How long a robot is left to itself when its controller fails: trials of the watchdog.

A victim drives the bench robot behind a watchdog at 50 Hz and then meets its end in one of the
`KINDS`. What counts is the time from the failure to the end of the driver's stop, both on the
monotonic clock, which processes share.

    python -m benchmarks.watchdog_trials --trials 200
"""

import argparse
import contextlib
import ctypes
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.robot.watchdog.config import WatchdogConfig
from mjx_s2r.robot.watchdog.privileges import CONTROLLER, hurry
from mjx_s2r.robot.watchdog.proxy import WatchdogError, WatchedDriver

KINDS = ("stopped", "killed", "interrupted", "blocked", "waiting", "memory", "out of memory")
LASTING = ("stopped", "blocked", "waiting")  # a victim of these goes on
HZ = 50.0
SETTLE_S = 0.15  # of driving before a failure
BLOCK_US = 150_000
CHUNK = 4 << 20
ROOM = 64 << 20  # memory that a victim may take
CGROUPS = Path("/sys/fs/cgroup/memory")
WAIT_S = 5.0
TOO_EARLY = 20  # such trials beyond as many as there are others


class TooEarlyError(RuntimeError):
    """A trial that does not count: a busy machine made the victim late before it failed."""


def contract() -> PolicyContract:
    """Returns the contract of a six-joint arm without cameras."""
    joints = tuple("abcdef")
    ones = (1.0,) * len(joints)
    action = ActionSpec(
        joints=joints,
        mode="delta_position",
        unit="rad",
        scale=(0.05,) * len(joints),
        home=(0.0,) * len(joints),
        low=(-1.0,) * len(joints),
        high=ones,
        max_rate=(3.0,) * len(joints),
        max_effort=ones,
    )
    signals = (Signal("joint_pos", 6, "rad"), Signal("joint_vel", 6, "rad/s"))
    return PolicyContract("trial", HZ, signals, action)


def failure_times(kind: str, trials: int) -> np.ndarray:
    """Returns (trials,) ms from the failure to the end of the stop.

    A victim that is out of memory has no instant of failure; the time counts from its last sign of
    life. "out of memory" is the kernel's own kill, where this process may make a memory cgroup;
    else the trial falls back to "memory", a limit on the address space.
    """
    times: list[float] = []
    early = 0
    with tempfile.TemporaryDirectory() as folder:
        while len(times) < trials:
            log = Path(folder) / f"{len(times)}_{early}.jsonl"
            with _victim(kind, log) as victim:
                for _ in range(trials - len(times) if kind in LASTING else 1):
                    try:
                        times.append(_trial(kind, victim, log))
                    except TooEarlyError:
                        early += 1
                        break
            if early > trials + TOO_EARLY:
                raise RuntimeError(f"{early} victims were stopped before they failed; this machine "
                                   "is too busy for this measurement")  # fmt: skip
    return np.array(times)


def watchdog_max_ms(trials: int = 20, kinds: tuple[str, ...] = KINDS) -> float:
    """Returns the longest time of ``trials`` failures of each kind, ms."""
    return max(float(failure_times(kind, trials).max()) for kind in kinds)


@contextlib.contextmanager
def _victim(kind: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Starts a victim that drives; ends it."""
    command = [sys.executable, "-m", "benchmarks.watchdog_trials", "--victim", kind]
    victim = subprocess.Popen(
        [*command, "--log", str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if kind not in LASTING else None,  # it may die with a traceback
        text=True,
        cwd=Path(__file__).parents[1],
        start_new_session=True,
    )
    group = CGROUPS / f"mjx_s2r_trial_{victim.pid}"
    try:
        _hear(victim, "driving")
        if kind == "out of memory" and _can_make(group):
            (group / "memory.limit_in_bytes").write_text(str(ROOM))
            (group / "cgroup.procs").write_text(str(victim.pid))
        yield victim
    finally:
        victim.kill()
        victim.wait(WAIT_S)
        for pipe in (victim.stdin, victim.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(OSError):
            group.rmdir()


def _can_make(group: Path) -> bool:
    """Returns whether a memory cgroup could be made."""
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").read_text()
    except OSError:
        return False
    return True


def _hear(victim: subprocess.Popen[str], word: str) -> float:
    """Waits for a line of the victim; returns the number that follows the word."""
    assert victim.stdout is not None
    line = victim.stdout.readline().split()
    if line[:1] != [word]:
        raise TooEarlyError(f"the victim said {line} instead of {word!r}")
    return float(line[1])


def _tell(victim: subprocess.Popen[str]) -> None:
    """Tells the victim to fail."""
    assert victim.stdin is not None
    victim.stdin.write("fail\n")
    victim.stdin.flush()


def _trial(kind: str, victim: subprocess.Popen[str], log: Path) -> float:
    """Lets a victim fail once; returns the time to the end of the stop, ms."""
    time.sleep(SETTLE_S)
    offset = log.stat().st_size
    failed_s = time.monotonic()
    if kind == "stopped":
        victim.send_signal(signal.SIGSTOP)
    elif kind == "killed":
        victim.kill()
    elif kind == "interrupted":
        os.killpg(victim.pid, signal.SIGINT)
    else:
        _tell(victim)
        if kind in LASTING:
            failed_s = _hear(victim, "failing")
    line = _stop_line(log, offset, failed_s)
    if kind in ("memory", "out of memory"):
        failed_s = max(line["last_command_s"], line["beat_s"])
    if kind == "stopped":
        victim.send_signal(signal.SIGCONT)
    if kind in LASTING:
        _hear(victim, "driving")
    return 1e3 * (line["stopped_s"] - failed_s)


def _stop_line(log: Path, offset: int, failed_s: float) -> dict[str, float]:
    """Returns the first line after ``offset`` that tells of a stop.

    Raises:
        TooEarlyError: it was decided on before the victim failed, or there is none.
    """
    give_up_s = time.monotonic() + WAIT_S
    while time.monotonic() < give_up_s:
        with log.open() as file:
            file.seek(offset)
            text = file.read()
        for line in text[: text.rfind("\n") + 1].splitlines():
            event: dict[str, float] = json.loads(line)
            if "stopped_s" in event:
                if event.get("decided_s", math.inf) < failed_s:
                    raise TooEarlyError("the watchdog stopped a victim that had not failed")
                return event
        time.sleep(0.01)
    raise TooEarlyError(f"the watchdog stopped nothing within {WAIT_S} s")


def _be_victim(kind: str, log: Path) -> None:
    """Drives until told to fail, then fails; starts again after a failure that ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
    hurry(CONTROLLER)  # else a busy machine makes it late before it fails
    config = WatchdogConfig(log=str(log))
    with WatchedDriver("bench", contract(), config=config) as driver:
        driver.connect()
        command = np.zeros(6, np.float32)
        says = "driving"
        next_s = time.monotonic()
        while True:
            try:
                driver.read()
                driver.write(command)
            except WatchdogError:
                driver.reset()
                says, next_s = "driving", time.monotonic()
                continue
            if says:
                print(says, time.monotonic(), flush=True)
                says = ""
            if select.select([sys.stdin], [], [], 0)[0]:
                sys.stdin.readline()
                _fail(kind)
            next_s += 1 / HZ
            time.sleep(max(0.0, next_s - time.monotonic()))


def _fail(kind: str) -> None:
    """Meets the end that the kind names."""
    if kind in LASTING:
        library = ctypes.PyDLL(None) if kind == "blocked" else ctypes.CDLL(None)
        print("failing", time.monotonic(), flush=True)
        library.usleep(BLOCK_US)  # PyDLL keeps the interpreter's lock, CDLL gives it back
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + (ROOM if kind == "memory" else 2 * ROOM)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    hoard = []
    while True:
        hoard.append(np.ones(CHUNK, np.uint8))


def main() -> None:
    """Prints the distribution of every kind, and the machine's load."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--victim", choices=KINDS)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    if given.victim:
        _be_victim(given.victim, given.log)
        return
    for kind in given.kinds:
        times = failure_times(kind, given.trials)
        p50, p99 = np.percentile(times, [50, 99])
        print(
            f"{kind:14} {len(times)} trials: p50 {p50:.1f} p99 {p99:.1f} max {times.max():.1f} ms; "
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            flush=True,
        )


if __name__ == "__main__":
    main()
