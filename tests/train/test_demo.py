"""The demo: what it says of its pipelines and of an earlier demo, and when its processes end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from mjx_s2r.io.run import Run, RunError
from mjx_s2r.runtime.signals import PARENT
from train import demo
from train.demo import Clock, DemoConfig

WAITS = "from mjx_s2r.runtime.signals import end_with_parent as e; import time; e(); time.sleep(60)"
STARTS = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {WAITS!r}],
                         env=os.environ | {{"{PARENT}": str(os.getpid())}})
print(child.pid, flush=True)
time.sleep(60)
"""


def outcome(successes: int, episodes: int) -> dict[str, object]:
    """Returns figures of a policy as a pipeline leaves them."""
    share = successes / episodes
    return {"success": share, "episodes": episodes, "interval": [share / 2, share]}


def finished(folder: Path, **settings: object) -> Path:
    """Leaves what a finished demo leaves."""
    folder.mkdir(parents=True)
    kept = demo._settings(DemoConfig()) | settings
    body = {"settings": kept, "seconds": 90.0, "student": outcome(9, 10), "plain": outcome(1, 10)}
    (folder / "result.json").write_text(json.dumps(body))
    return folder


def ended(status: int) -> subprocess.Popen[bytes]:
    """Returns a process that has ended with a status."""
    child = subprocess.Popen([sys.executable, "-S", "-c", f"raise SystemExit({status})"])
    child.wait()
    return child


def test_a_finished_demo_is_told_again_and_moved_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = StringIO()
    monkeypatch.setattr(demo, "console", Console(file=said))
    folder = finished(tmp_path / "demo")
    assert demo.run(DemoConfig(run=folder)) == folder / "report.html"
    told = " ".join(said.getvalue().split())
    assert "90% of 10 episodes" in told and "--again" in told
    with pytest.raises(RunError, match="seed 0, now 1"):
        demo.run(DemoConfig(run=folder, seed=1))

    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_spawn", stopped)
    with pytest.raises(KeyboardInterrupt):
        demo.run(DemoConfig(run=folder, again=True))
    (kept,) = tmp_path.glob("demo-*")
    assert (kept / "result.json").exists() and not (folder / "result.json").exists()


def test_ranges_may_come_repeatedly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DemoConfig] = []
    monkeypatch.setattr(demo, "run", asked.append)
    demo.main(["--range", "gravity=0.9,1.1", "--seed", "3", "--range=friction=1"])
    assert asked[0].range == ("gravity=0.9,1.1", "friction=1") and asked[0].seed == 3


def test_a_folder_that_a_left_over_pipeline_writes_is_refused(tmp_path: Path) -> None:
    with (
        Run.create(tmp_path / "plain" / "teacher", DemoConfig()),
        pytest.raises(RunError, match=f"plain/teacher is in use: process {os.getpid()} "),
    ):
        demo.run(DemoConfig(run=tmp_path))


@pytest.mark.parametrize(
    ("lines", "share", "note"),
    [
        ((), 0.0, "teacher: compiling"),
        (("teacher reach 60/120 1,000 steps/s  0:04:10 left",), 0.2, "teacher reach 60/120"),
        (("teacher at nominal: 510 of 512 episodes",), 0.0, "teacher: compiling"),
    ],
)
def test_the_bar_shows_what_this_start_has_done(
    tmp_path: Path, lines: Sequence[str], share: float, note: str
) -> None:
    """A line of an earlier start is no progress of this one."""
    log = tmp_path / "log.txt"
    log.write_text("teacher reach 110/120 900 steps/s\n")
    begun = log.stat().st_size
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    found = demo._standing(tmp_path, begun)
    assert found[0] == pytest.approx(share) and found[1] == "teacher" and found[2].startswith(note)
    (tmp_path / "student.json").touch()
    with log.open("a") as file:
        file.write("robots: 40 50/200 success 1.00  0:06:42 left\n")
    assert demo._standing(tmp_path, begun)[0] == pytest.approx(0.85 + 0.15 / 4)


def test_a_failed_pipeline_is_told_by_its_error(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    log = tmp_path / "plain" / "log.txt"
    log.write_text("teacher reach 5/120\nerror: the disk\n  is full\n")
    with pytest.raises(RunError, match=r"status 2 .*:\nerror: the disk\n  is full$"):
        demo._check(tmp_path, {"plain": ended(2)}, {"plain": 0})
    begun = log.stat().st_size
    with log.open("a") as file:
        file.write("Traceback\nKeyError: 'x'\n")
    with pytest.raises(RunError, match=r":\nTraceback\nKeyError: 'x'$"):
        demo._check(tmp_path, {"plain": ended(1)}, {"plain": begun})
    with pytest.raises(KeyboardInterrupt):
        demo._check(tmp_path, {"plain": ended(130)}, {"plain": 0})
    demo._check(tmp_path, {"plain": ended(0)}, {"plain": 0})


def test_the_time_of_all_starts_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(demo.STARTED, str(int(time.time()) - 40))
    first = Clock(tmp_path / "seconds.json").keep()
    assert 40 <= first < 50
    monkeypatch.delenv(demo.STARTED)
    assert first <= Clock(tmp_path / "seconds.json").keep() < first + 5


def test_a_pipeline_ends_when_the_demo_is_killed(plain_signals: None) -> None:
    parent = subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 30
    while time.monotonic() < until:
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child lives on")
