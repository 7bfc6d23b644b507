"""What a signal does to a training, and what is said then."""

import os
import signal

import pytest

from mjx_s2r.runtime.signals import defer_signals
from train.__main__ import _remedy


def send(number: signal.Signals) -> None:
    """Sends this process a signal."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_sigterm_waits_and_a_second_ctrl_c_does_not(first: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), defer_signals() as stopped:
        assert not stopped()
        send(first)
        assert stopped()
        send(signal.SIGTERM)
        assert stopped()
        send(signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["python -m train teacher", "--task", "lift"], "run the same command with --resume"),
        (["python -m train teacher", "--resume"], "run the same command to go on"),
        (["python -m train demo"], "run the same command to go on"),
        (["python -m train evaluate"], "run the same command to go on"),
        (["python -m train judge"], "the same command begins anew"),
    ],
)
def test_who_interrupts_is_told_how_to_go_on(line: list[str], says: str) -> None:
    assert says in _remedy(line)
