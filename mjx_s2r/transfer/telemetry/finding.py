"""One thing that is wrong with a log, how grave it is, where, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

TelemetrySeverity = Literal["error", "warning"]


@dataclass(frozen=True)
class TelemetryFinding:
    """One thing about recordings that their user must know.

    Attributes:
        severity: "error": a fit would be wrong with confidence; "warning": it may be worse.
        code: what kind of thing, in two or three words; the same in every log.
        where: file, joint or channel, and row or time.
        what: what was found, with its number.
        remedy: what to do.
    """

    severity: TelemetrySeverity
    code: str
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """Returns one line for people."""
        return f"{self.severity}: {self.where}: {self.what}; {self.remedy}"
