"""What a look at a model found: one thing, how grave it is, and what to do about it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["refused", "differs", "note"]
GRAVEST_FIRST: tuple[Severity, ...] = ("refused", "differs", "note")


@dataclass(frozen=True)
class ModelFinding:
    """One thing about a model that its user should know.

    Attributes:
        severity: "refused": the engine will not simulate it; "differs": it will, and not as the
            robot or C MuJoCo moves; "note": nothing is wrong, and much would be better otherwise.
        engine: "jax", "warp" or "c" whom it concerns, "render" the pictures; "" the model itself.
        element: what it is about, such as "joint 'elbow'".
        value: what about it.
        remedy: what to do.
    """

    severity: Severity
    engine: str
    element: str
    value: str
    remedy: str


def from_message(severity: Severity, engine: str, message: str) -> ModelFinding:
    """Returns the finding that an engine's message tells: "ELEMENT: VALUE; REMEDY"."""
    said, _, remedy = message.partition("; ")
    element, colon, value = said.partition(": ")
    if not colon:
        named = _NAMED.match(said)
        element, value = (named[1], named[2]) if named else ("the model", said)
    return ModelFinding(severity, engine, element, value, remedy)


_NAMED = re.compile(r"((?:[\w ]+ (?:'[^']*'|number \d+)|option \w+|flag \S+))=?\s?(.*)", re.DOTALL)


def merged(findings: Iterable[ModelFinding]) -> tuple[ModelFinding, ...]:
    """Returns findings, gravest first; those that differ in the element alone are made one."""
    groups: dict[tuple[str, str, str, str], list[ModelFinding]] = {}
    for one in findings:
        key = (one.severity, one.engine, one.value, one.remedy)
        groups.setdefault(key, []).append(one)
    found = []
    for group in groups.values():
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        found.append(replace(group[0], element=group[0].element + more))
    return tuple(sorted(found, key=lambda one: GRAVEST_FIRST.index(one.severity)))


def listed(names: Iterable[str], most: int = 4) -> str:
    """Returns names in a row, the first few and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
