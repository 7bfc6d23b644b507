"""Values that strict JSON can hold: it has no infinities and no NaN."""

import math
from collections.abc import Callable, Mapping
from typing import Any


def plain_json(value: Any, instead: Callable[[float], Any] = lambda x: None) -> Any:
    """Returns mappings, lists and tuples of JSON values without numbers that are not finite.

    Args:
        value: of any depth.
        instead: what stands for a number that is not finite; None by default, `str` for its name.
    """
    if isinstance(value, Mapping):
        return {str(k): plain_json(v, instead) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(v, instead) for v in value]
    return instead(value) if isinstance(value, float) and not math.isfinite(value) else value
