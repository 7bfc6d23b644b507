"""A function in a process of its own, whose end frees all that it compiled and allocated.

A process with many trainings ended in a segmentation fault of the unwinder at about the seventh
(three times; jax 0.9.2, libgcc of Debian 12). One that ended by a signal is begun anew, so
functions must go on where they were.

Nothing here imports jax.
"""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar, cast

from mjx_s2r.runtime import devices
from mjx_s2r.runtime.progress import console, print_line
from mjx_s2r.runtime.signals import (
    PARENT,
    end_with_parent,
    sigterm_interrupts,
    starting_without_interrupts,
    take_interrupts,
)

T = TypeVar("T")
TRIES = 3


class CrashError(RuntimeError):
    """A process that ended by a signal again and again; the message says which."""


def run_apart(function: Callable[..., T], *args: Any, tries: int = TRIES) -> T:
    """Returns ``function(*args)``, called in a new process that ends before this returns.

    Ctrl-C and SIGTERM reach that process, too, and it ends where this one is killed.

    Args:
        function: of a module; it, its arguments and its result can be pickled.
        *args: its arguments.
        tries: how often it is begun if its process ends by a signal.

    Raises:
        CrashError: its process ended by a signal every time, or without an answer.
        Exception: what the function raised.
    """
    packed, code = pickle.dumps((function, args)), 0
    for left in reversed(range(tries)):
        child, receive = start_process(_call, packed)
        try:
            told = _received(receive)
            child.join()
        except BaseException:
            child.terminate()
            child.join()
            raise
        if told is not None:
            result, error = told
            if error is not None:
                raise error
            return cast(T, result)
        code = child.exitcode or 0
        if code >= 0:
            break
        if left:
            print_line(f"its process ended by signal {-code}; going on in a new one")
    raise CrashError(
        f"{function.__name__}: its process ended with status {code} and no result; the same "
        "command goes on where it was"
    )


def start_process(target: Callable[..., None], *args: Any) -> tuple[SpawnProcess, Connection]:
    """Starts a process that ends with this one; returns it, and where it is heard.

    It shows nothing where this one shows nothing.

    Args:
        target: of a module; is called there with the connection to send by, and ``args``.
        *args: can be pickled, or be inherited by a process that is spawned.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_begin, args=(target, send, console.quiet, *args))
    before = os.environ.get(PARENT)
    os.environ[PARENT] = str(os.getpid())
    resource_tracker.ensure_running()  # its start would let Ctrl-C through
    try:
        with starting_without_interrupts():
            child.start()
    finally:
        if before is None:
            del os.environ[PARENT]
        else:
            os.environ[PARENT] = before
    send.close()
    return child, receive


def _begin(target: Callable[..., None], send: Connection, quiet: bool, *args: Any) -> None:
    """Prepares a new process and calls its target."""
    end_with_parent()
    console.quiet = quiet
    devices.configure()
    devices.import_mjx_quietly()
    with suppress(KeyboardInterrupt), sigterm_interrupts():
        take_interrupts()
        target(send, *args)


def _received(receive: Connection) -> tuple[Any, BaseException | None] | None:
    """Returns what a process sends, result and error, or None if it ends before it does."""
    try:
        return cast(tuple[Any, BaseException | None], receive.recv())
    except EOFError:
        return None


def _call(send: Connection, packed: bytes) -> None:
    """Unpacks and calls the function, and sends its result or its error; in the new process."""
    try:
        function, args = pickle.loads(packed)
        told: tuple[Any, BaseException | None] = function(*args), None
    except (Exception, KeyboardInterrupt) as error:
        told = None, error
    send.send(told)
