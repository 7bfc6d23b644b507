"""Waiting for something that another process or thread does."""

import time
from collections.abc import Callable


def until(is_true: Callable[[], bool], limit_s: float = 5.0) -> bool:
    """Waits for something; returns whether it came."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if is_true():
            return True
        time.sleep(0.002)
    return False
