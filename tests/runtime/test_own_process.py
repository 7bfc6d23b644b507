"""A function in a process of its own: results, errors, crashes, and what ends it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mjx_s2r.io.run import RunError
from mjx_s2r.runtime.own_process import CrashError, run_apart


def doubled(text: str) -> tuple[int, str]:
    """Returns the process and a long text."""
    return os.getpid(), 2 * text


def refused(what: str) -> None:
    """Raises an error of ours."""
    raise RunError(f"{what} cannot be")


def crashing(notes: Path, times: int) -> str:
    """Ends by a segmentation fault the first few times."""
    with notes.open("a") as file:
        file.write("begun\n")
    begun = notes.read_text().count("begun")
    if begun <= times:
        os.kill(os.getpid(), signal.SIGSEGV)
    return f"done after {begun}"


def unsendable(notes: Path) -> object:
    """Returns what cannot be pickled; a second call would fail otherwise."""
    notes.write_text("begun" if not notes.exists() else "again")
    return lambda: None


def waiting(notes: Path) -> None:
    """Waits to be interrupted, and says so."""
    notes.write_text(str(os.getpid()))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        notes.with_name("saved").write_text("saved")
        raise


def test_the_result_comes_from_another_process() -> None:
    """However long it is: what is sent does not wait for the end of the process."""
    process, text = run_apart(doubled, "x" * 300_000)
    assert process != os.getpid() and len(text) == 600_000


def test_an_error_is_the_functions_own() -> None:
    with pytest.raises(RunError, match=r"^a study cannot be$"):
        run_apart(refused, "a study")


def test_a_process_that_crashed_is_begun_again(tmp_path: Path) -> None:
    assert run_apart(crashing, tmp_path / "notes", 1) == "done after 2"
    with pytest.raises(CrashError, match=rf"crashing: .*status -{int(signal.SIGSEGV)} and no"):
        run_apart(crashing, tmp_path / "more", 5, tries=2)
    assert (tmp_path / "more").read_text().count("begun") == 2


def test_what_cannot_be_sent_is_no_crash(tmp_path: Path) -> None:
    """It would be the same the next time."""
    with pytest.raises(CrashError, match=r"unsendable: .*status 1 and no result"):
        run_apart(unsendable, tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "begun"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_process_that_began_it(
    number: signal.Signals, tmp_path: Path, plain_signals: None
) -> None:
    """Asked to end, or killed: the function is interrupted, and has the time to save."""
    notes = tmp_path / "notes"
    begun = _asking(notes)
    until = time.monotonic() + 60
    while not (notes.exists() and notes.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    child = int(notes.read_text())
    begun.send_signal(number)
    begun.communicate(timeout=60)
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _runs(child)
    assert notes.with_name("saved").exists()


def test_an_interrupt_while_it_starts_is_told_by_the_one_that_asked(
    tmp_path: Path, plain_signals: None
) -> None:
    """At a terminal Ctrl-C reaches both; a new process is still importing, and says nothing."""
    begun = _asking(tmp_path / "notes", start_new_session=True)
    children = Path(f"/proc/{begun.pid}/task/{begun.pid}/children")
    until = time.monotonic() + 60
    while len(children.read_text().split()) < 2 and time.monotonic() < until:  # and the tracker
        time.sleep(0.005)
    time.sleep(0.5)  # Python itself has begun
    os.killpg(begun.pid, signal.SIGINT)
    told = begun.communicate(timeout=60)[1].decode()
    assert told.count("Traceback") == 1 and told.strip().endswith("KeyboardInterrupt"), told
    assert not (tmp_path / "notes").exists()


def _asking(notes: Path, **how: bool) -> "subprocess.Popen[bytes]":
    """Returns a process that has `waiting` done in another."""
    code = (
        "from pathlib import Path\n"
        "from mjx_s2r.runtime.own_process import run_apart\n"
        "from mjx_s2r.runtime.signals import sigterm_interrupts\n"
        "from tests.runtime.test_own_process import waiting\n"
        "if __name__ == '__main__':\n"
        "    with sigterm_interrupts():\n"
        f"        run_apart(waiting, Path({str(notes)!r}))\n"
    )
    file = notes.with_name("begin.py")
    file.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(file)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **how)  # type: ignore[call-overload]


def _runs(process: int) -> bool:
    """Returns whether a process is there and no zombie."""
    file = Path(f"/proc/{process}/stat")
    return file.exists() and file.read_text().split(")")[-1].split()[0] != "Z"
