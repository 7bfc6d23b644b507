"""The observation that the policy reads, filled into a buffer that is made once."""

from collections.abc import Mapping

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.driver import COMMAND


class ObservationBuffer:
    """Computes what `mjx_s2r.contract.assemble` computes, bit for bit, on the robot."""

    def __init__(self, contract: PolicyContract) -> None:
        """Prepares offsets, scales and places of the contract's signals."""
        self._raw = np.zeros(contract.size, np.float32)
        self._offset, self._scale = np.zeros_like(self._raw), np.ones_like(self._raw)
        self._places: list[tuple[str, slice]] = []
        at = 0
        for s in contract.signals:
            place = slice(at, at + s.size)
            self._offset[place], self._scale[place] = s.offset, s.scale
            self._places.append((s.name, place))
            at += s.size

    def fill(self, signals: Mapping[str, np.ndarray], command: np.ndarray) -> np.ndarray:
        """Returns the observation (P,) float32, a new array.

        Args:
            signals: readings of every signal of the contract, as the guard has judged them.
            command: (J,) the last command that was sent, which is one of the signals.
        """
        for name, place in self._places:
            self._raw[place] = command if name == COMMAND else signals[name]
        return (self._raw - self._offset) * self._scale
