"""What tests of this folder share."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def plain_signals() -> Iterator[None]:
    """Undoes what a shell or nohup may have set: that Ctrl-C or the end of a terminal is ignored.

    A process that begins with that passes it on to all that it starts.
    """
    plain = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in plain.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
