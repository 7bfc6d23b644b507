"""Emergency stops: what a person or another machine presses, asked once a control step."""

from typing import Protocol


class StopSource(Protocol):
    """One emergency stop.

    ``pressed`` is asked at every control step and returns within microseconds. Once pressed it
    stays pressed until a person resets it.
    """

    @property
    def name(self) -> str:
        """What is pressed, for the log: "keyboard", "file stop", ..."""
        ...

    def pressed(self) -> bool:
        """Returns whether it is pressed."""
        ...
