"""Parallel compilation of a training's programs, before it begins.

JAX traces and compiles a program when it is first called, so one waits for the other. Tracing is
Python and stays in one thread; compiling is not, and several programs can be compiled while the
next is traced. The calls that follow find them: JAX keeps compiled programs by what was traced, and
traces nothing twice for arguments of the same shapes.

Processes that begin alike, such as the two pipelines of the demo or the trainings of a study, share
the work by way of JAX's folder of compiled programs. Who compiles a program holds a lock on it; the
others leave it, compile what nobody has begun, and then read it from the folder.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import jax
from jax.stages import Lowered

from mjx_s2r.runtime.devices import usable_cores

LOCKS = "compiling"  # folder of the locks, in that of compiled programs
LONGEST_S = 300.0  # that a process waits for another, which may have been stopped
LOOK_S = 0.05  # between two looks whether the other is done


def compile_all(
    programs: Iterable[Lowered], done: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Compiles ``programs``, each as soon as it is traced; waits for all.

    Args:
        programs: traced when asked for, one after the other; the longest to compile first.
        done: is called with how many are compiled, and of how many, whenever that changes.
    """
    folder = _lock_folder()
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="compile") as pool:
        jobs = [pool.submit(_compile_if_free, folder, program) for program in programs]
        taken: list[Lowered] = []
        for finished, job in enumerate(as_completed(jobs), 1):
            if other := job.result():
                taken.append(other)
            done(finished - len(taken), len(jobs))
    until = time.monotonic() + LONGEST_S
    while taken:
        ours = time.monotonic() > until
        left = [p for p in taken if _compile_if_free(None if ours else folder, p)]
        if len(left) == len(taken):
            time.sleep(LOOK_S)
        else:
            until = time.monotonic() + LONGEST_S
            done(len(jobs) - len(left), len(jobs))
        taken = left


def _compile_if_free(folder: Path | None, program: Lowered) -> Lowered | None:
    """Compiles a program, or returns it where another process is compiling it.

    Args:
        folder: of the locks; None asks nobody.
        program: traced.
    """
    if folder is None:
        program.compile()
        return None
    digest = hashlib.sha256(program.as_text().encode()).hexdigest()
    with _lock(folder / digest) as free:
        if free:
            program.compile()
    return None if free else program


def _lock_folder() -> Path | None:
    """Returns the folder of the locks, made if need be; None where processes share no programs."""
    programs = getattr(jax.config, "jax_compilation_cache_dir", None)  # its type knows no names
    if not programs or not Path(programs).is_dir():
        return None
    folder = Path(programs) / LOCKS
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
    return folder if folder.is_dir() else None


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Holds the lock of a file, which ends with the process; yields whether it was free.

    A lock that cannot be had, as on some file systems, counts as free.
    """
    try:
        import fcntl  # which Windows lacks

        file = path.open("w")
    except (ImportError, OSError):
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            yield True
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
