"""One thing that is wrong with a log, how grave it is, where, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from mjx_s2r.mjcf.finding import listed

TelemetrySeverity = Literal["error", "warning"]


@dataclass(frozen=True)
class TelemetryFinding:
    """One thing about recordings that their user must know.

    Attributes:
        severity: "error": a fit would be wrong with confidence; "warning": it may be worse.
        code: what kind of thing, in two or three words; the same in every log.
        where: name of the recording, or of the file; "" for all of them together.
        what: what was found, with its number.
        remedy: what to do.
        element: joint or channel; "" for the recording itself.
    """

    severity: TelemetrySeverity
    code: str
    where: str
    what: str
    remedy: str
    element: str = ""

    def __str__(self) -> str:
        """Returns one line for people."""
        place = ", ".join(filter(None, (self.where, self.element)))
        return ": ".join(filter(None, (self.severity, place, f"{self.what}; {self.remedy}")))


def merged_findings(findings: Iterable[TelemetryFinding]) -> tuple[TelemetryFinding, ...]:
    """Returns findings, errors first; the same of several recordings or joints are told once."""
    groups: dict[tuple[str, str, str], list[TelemetryFinding]] = {}
    for one in findings:
        groups.setdefault((one.severity, one.code, one.element), []).append(one)
    found = []
    for group in groups.values():
        others = len({one.where for one in group}) - 1
        more = f" (and {others} more like it)" if others else ""
        found.append(replace(group[0], where=group[0].where + more))
    alike: dict[tuple[str, str, str, str, str], list[TelemetryFinding]] = {}
    for one in found:
        key = (one.severity, one.code, one.where, one.what, one.remedy)
        alike.setdefault(key, []).append(one)
    told = [
        replace(group[0], element=listed(dict.fromkeys(x.element for x in group)))
        for group in alike.values()
    ]
    return tuple(sorted(told, key=lambda one: one.severity != "error"))
