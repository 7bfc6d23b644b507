"""What the numbers of a training's settings may be; a refusal names the setting and its value.

A setting may hold one number, or several: one per stage, or per layer.
"""

import math
from collections.abc import Sequence
from typing import Any


def check_numbers(
    config: Any,
    what: str,
    *,
    sizes: Sequence[str] = (),
    positive: Sequence[str] = (),
    weights: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> None:
    """Checks numbers of settings.

    Args:
        config: the settings.
        what: they are called, for the message.
        sizes: names of those that must be at least 1.
        positive: names of those that must be above 0.
        weights: names of those that must not be negative.
        shares: names of those that must lie in [0, 1].

    Raises:
        ValueError: one that does not, or is not finite; named.
    """
    rules = (
        (sizes, lambda x: x >= 1, "be at least 1"),
        (positive, lambda x: x > 0, "be above 0"),
        (weights, lambda x: x >= 0, "not be negative"),
        (shares, lambda x: 0 <= x <= 1, "lie in [0, 1]"),
    )
    for names, fits, words in rules:
        for name in names:
            value = getattr(config, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not math.isfinite(number):
                    raise ValueError(f"{what}.{name} {value} must be finite")
                if not fits(number):
                    raise ValueError(f"{what}.{name} {value} must {words}")
