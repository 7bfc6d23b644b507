"""Parallel compilation of a training's programs, before it begins.

JAX traces and compiles a program when it is first called, so one waits for the other. Tracing is
Python and stays in one thread; compiling is not, and several programs can be compiled while the
next is traced. The calls that follow find them: JAX keeps compiled programs by what was traced, and
traces nothing twice for arguments of the same shapes.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from jax.stages import Lowered


def compile_all(
    programs: Iterable[Lowered], done: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Compiles ``programs``, each as soon as it is traced; waits for all.

    Args:
        programs: traced when asked for, one after the other; the longest to compile first.
        done: is called with how many are compiled, and of how many, whenever that changes.
    """
    with ThreadPoolExecutor(thread_name_prefix="compile") as pool:
        jobs = [pool.submit(program.compile) for program in programs]
        for count, job in enumerate(as_completed(jobs), 1):
            job.result()
            done(count, len(jobs))
