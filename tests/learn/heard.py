"""Which programs are compiled, by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import jax


@contextmanager
def compiled(*names: str) -> Iterator[list[str]]:
    """Yields a list that fills with those of the ``names`` whose programs are compiled within."""
    found: list[str] = []
    over = Event()

    def hear(event: str, _: float, **about: Any) -> None:
        name = str(about.get("fun_name", "")).removeprefix("jit(").removesuffix(")")
        if event.endswith("backend_compile_duration") and name in names and not over.is_set():
            found.append(name)

    jax.monitoring.register_event_duration_secs_listener(hear)
    try:
        yield found
    finally:
        over.set()  # a listener cannot be taken back
