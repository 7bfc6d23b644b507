"""Jobs that several processes share: each takes the next one when it is done with its last.

This process works too, so that nothing waits for the others to start; what they find comes as they
find it. A job whose process died is done again by this one.

Nothing here imports jax.
"""

import multiprocessing
import pickle
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from mjx_s2r.runtime.devices import cores_apart, kept_to, usable_cores
from mjx_s2r.runtime.own_process import start_process
from mjx_s2r.runtime.progress import console

MOST_PROCESSES = 8  # where nobody says how many: each takes half a GB, or some in a training

Job = TypeVar("Job")
Found = TypeVar("Found")
Work = Callable[[Job], Iterable[Found]]

# What a process says: (its number, kind, of which job, what). Kinds are "found", "done" (with a
# job), "failed" (with an error) and "gone".
_Message = tuple[int, str, int, Any]


def processes_asked(count: int) -> int:
    """Returns how many processes are meant by ``count``: 0 is one per processor, at most 8."""
    return count or min(usable_cores(), MOST_PROCESSES)


def share_jobs(
    prepare: Callable[..., Work[Job, Found]],
    args: Sequence[Any],
    jobs: Sequence[Job],
    processes: int,
    work: Work[Job, Found],
    *,
    apart: bool = False,
) -> Generator[Found, None, None]:
    """Yields what is found for every job: that of a job in order, those of several as they come.

    Ctrl-C and SIGTERM end the other processes, too, and so does the end of this one.

    Args:
        prepare: of a module; called with ``args`` in each of the other processes, returns what does
            a job there. It, its arguments, the jobs and what is found can be pickled.
        args: its arguments.
        jobs: what is to be done; a job finds the same wherever it is done.
        processes: how many work on them, this one among them.
        work: does a job in this process.
        apart: each process keeps to processors of its own, as far as there are enough.

    Raises:
        Exception: what ``work`` raised, here or in another process.
    """
    others = min(processes, len(jobs)) - 1
    if others < 1:
        for job in jobs:
            yield from work(job)
        return
    shares = cores_apart(others + 1) if apart else [None] * (others + 1)
    taken = multiprocessing.get_context("spawn").Value("i", 0)
    inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
    board = _Board(jobs, inbox, others)
    packed = pickle.dumps((prepare, tuple(args), list(jobs)))
    with _started(shares[1:], packed, taken, inbox), kept_to(shares[0]):
        while (number := _next(taken, len(jobs))) is not None:
            yield from board.watched(number, work)
        while not board.finished:
            left = board.abandoned()
            if not left:
                yield from board.wait()
            for number in left:
                yield from board.watched(number, work)


class _Board:
    """What has been found, and which jobs are done."""

    def __init__(
        self, jobs: Sequence[Any], inbox: "queue.SimpleQueue[_Message]", others: int
    ) -> None:
        """Begins with nothing."""
        self._jobs, self._inbox = jobs, inbox
        self._known = [0] * len(jobs)  # findings that have been told
        self._done: set[int] = set()
        self._alive = set(range(others))

    @property
    def finished(self) -> bool:
        """Whether every job is done."""
        return len(self._done) == len(self._jobs)

    def watched(self, number: int, work: Work[Any, Found]) -> Iterator[Found]:
        """Does a job here, without what is known of it; yields what others find meanwhile, too."""
        for found in islice(work(self._jobs[number]), self._known[number], None):
            yield found
            while not self._inbox.empty():
                yield from self._told(self._inbox.get())
        self._done.add(number)

    def wait(self) -> Iterator[Any]:
        """Yields what the next message brings."""
        yield from self._told(self._inbox.get())

    def abandoned(self) -> list[int]:
        """Returns the jobs that nobody works on, when all other processes are gone."""
        return [] if self._alive else [n for n in range(len(self._jobs)) if n not in self._done]

    def _told(self, message: _Message) -> Iterator[Any]:
        """Yields what was found, if that is the message."""
        process, kind, number, what = message
        if kind == "found":
            self._known[number] += 1
            yield what
        elif kind == "done":
            self._done.add(number)
        elif kind == "failed":
            raise what
        else:
            self._alive.discard(process)


def _next(taken: Any, count: int) -> int | None:
    """Returns the number of a job that nobody has taken, or None."""
    with taken.get_lock():
        number: int = taken.value
        taken.value = min(number + 1, count)
    return number if number < count else None


@contextmanager
def _started(
    shares: Sequence[frozenset[int] | None],
    packed: bytes,
    taken: Any,
    inbox: "queue.SimpleQueue[_Message]",
) -> Iterator[None]:
    """Starts the other processes and passes on what they say; ends them."""
    children: list[SpawnProcess] = []
    try:
        for index, cores in enumerate(shares):
            child, receive = start_process(_work, packed, taken, cores)
            children.append(child)
            told = (index, receive, inbox)
            threading.Thread(target=_pass_on, args=told, name=f"from {index}", daemon=True).start()
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.join()


def _pass_on(index: int, receive: Connection, inbox: "queue.SimpleQueue[_Message]") -> None:
    """Passes on what a process says until it is gone."""
    with closing(receive):
        while True:
            try:
                kind, number, what = receive.recv()
            except (EOFError, OSError):
                break
            inbox.put((index, kind, number, what))
    inbox.put((index, "gone", -1, None))


def _work(send: Connection, packed: bytes, taken: Any, cores: frozenset[int] | None) -> None:
    """Takes jobs and says what they find; in another process."""
    console.quiet = True  # what is to be said is said by the process that asked
    try:
        with kept_to(cores):
            _take(send, packed, taken)
    except KeyboardInterrupt:
        return
    except Exception as error:
        send.send(("failed", -1, error))


def _take(send: Connection, packed: bytes, taken: Any) -> None:
    """Does one job after the other."""
    prepare, args, jobs = pickle.loads(packed)
    work = prepare(*args)
    while (number := _next(taken, len(jobs))) is not None:
        for found in work(jobs[number]):
            send.send(("found", number, found))
        send.send(("done", number, None))
