"""Robots for the watchdog's tests; they live in its process and write down what is done to them."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.drivers.named import DriverOrder
from tests.robot.fakes import contract_for, info_for, reading_at

CAMERA = CameraSignal("front", 8, 6, 10.0)


class Recorder:
    """A robot that reaches commands at once; every call is a line in the file of option "path".

    Options: ``fail`` names the call that raises once it was made ``after`` times and until it was
    made ``mended`` times, ``hang`` the one that then takes ``seconds``. ``bytes`` gives it a name
    that JSON cannot hold. Its own e-stop is pressed while the file of option ``button`` is there.
    """

    def __init__(self, contract: PolicyContract, options: Mapping[str, str]) -> None:
        """Opens the file."""
        self._contract, self._options = contract, options
        self._file = os.open(options["path"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._after = int(options.get("after", "0"))
        self._made = {"read": 0, "write": 0, "stop": 0}
        self._position = np.zeros(2)

    def _note(self, call: str, text: str = "") -> None:
        """Writes a line, then fails or hangs where that was asked for."""
        if call != "read":
            os.write(self._file, f"{call} {time.monotonic()} {text}\n".encode())
        self._made[call] = self._made.get(call, 0) + 1
        if not self._after < self._made[call] <= int(self._options.get("mended", "1000000")):
            return
        if call == self._options.get("hang"):
            time.sleep(float(self._options["seconds"]))
        if call == self._options.get("fail"):
            raise OSError("the bus is unplugged")

    def describe(self) -> DriverInfo:
        """Returns the data sheet."""
        info = info_for(self._contract)
        if "bytes" in self._options:
            return replace(info, name=b"fake")  # type: ignore[arg-type]
        return info

    def connect(self) -> None:
        """Notes it."""
        self._note("connect")

    def read(self) -> Reading:
        """Returns the position; pictures hold how often it was read."""
        self._note("read")
        reading = reading_at(time.monotonic(), self._contract, joint_pos=self._position)
        for image in reading.images.values():
            image[...] = self._made["read"] % 256
        button = self._options.get("button")
        return replace(reading, estop=button is not None and os.path.exists(button))

    def write(self, command: np.ndarray) -> None:
        """Notes the command's exact values."""
        self._note("write", " ".join(x.hex() for x in command.tolist()))
        self._position = command.copy()

    def stop(self) -> None:
        """Notes it."""
        self._note("stop")

    def close(self) -> None:
        """Notes it."""
        self._note("close")


def recorder(order: DriverOrder) -> Recorder:
    """Returns the robot of an order."""
    return Recorder(order.contract, order.options)


def contract_at(control_hz: float, cameras: bool = False) -> PolicyContract:
    """Returns the contract of two joints at a rate."""
    return replace(contract_for(cameras=cameras), control_hz=control_hz)
