"""A robot at the other end of a network cable: the controller's end of the UDP protocol.

`docs/udp.md` has the layout of the datagrams and what the robot's end must do;
`mjx_s2r/robot/udp_end` has that end in C++. Datagrams may be lost, come twice, late or damaged:
only the newest reading counts, a command is valid for a while only, a stop is repeated until it is
acknowledged. Pictures do not travel here: 64 x 64 pixels are eleven datagrams, and one lost spoils
them; a robot with cameras has a driver of its own that joins this one's signals to its pictures.

The robot's clock is read by echo: of the answers of the last seconds the one with the shortest way
counts, and its middle is when the robot's clock was read (Cristian, Probabilistic clock
synchronization, Distributed Computing 3, 1989). The error is at most half that way.
"""

import contextlib
import itertools
import json
import math
import secrets
import select
import socket
import struct
import time
import zlib
from collections import Counter, deque
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.driver import DriverError, DriverInfo, Reading
from mjx_s2r.robot.drivers.named import DriverOrder
from mjx_s2r.robot.estop import parse_address

MAGIC, VERSION = b"MXRU", 1
HEADER = struct.Struct("<4sBBHIIdI")  # magic, version, kind, 0, session, sequence, stamp, length
CRC = struct.Struct("<I")
READING_HEAD = struct.Struct("<IId")  # flags, sequence of the last command, when measured
COMMAND_HEAD = struct.Struct("<IId")  # sequence of the reading answered, joints, valid until
MOST = 65507  # bytes of the largest datagram
ECHO_S = 0.5  # between two readings of the robot's clock
ECHOES = 16  # that the best is taken of
TRIES = 5


class Kind(IntEnum):
    """What a datagram is."""

    HELLO = 1
    DESCRIBE = 2
    ECHO = 3
    ECHOED = 4
    READING = 5
    COMMAND = 6
    STOP = 7
    STOPPED = 8


class Flag(IntEnum):
    """What a robot says of itself with every reading."""

    MOVING = 1
    TIMED_OUT = 2
    ESTOP = 4
    UNARMED = 8  # it takes no commands until the next HELLO


@dataclass(frozen=True)
class Datagram:
    """One datagram, whole: ``stamp_s`` is the sender's monotonic clock."""

    kind: int
    session: int
    sequence: int
    stamp_s: float
    payload: bytes


def pack_datagram(datagram: Datagram) -> bytes:
    """Returns the bytes of a datagram."""
    head = HEADER.pack(
        MAGIC,
        VERSION,
        datagram.kind,
        0,
        datagram.session,
        datagram.sequence,
        datagram.stamp_s,
        len(datagram.payload),
    )
    return head + CRC.pack(zlib.crc32(datagram.payload, zlib.crc32(head))) + datagram.payload


def unpack_datagram(data: bytes) -> Datagram | str:
    """Returns the datagram in ``data``, or why it is dropped: "foreign" or "damaged"."""
    start = HEADER.size + CRC.size
    if len(data) < start or not data.startswith(MAGIC) or data[4] != VERSION:
        return "foreign"
    head, payload = data[: HEADER.size], data[start:]
    _, _, kind, _, session, sequence, stamp_s, length = HEADER.unpack(head)
    (crc,) = CRC.unpack(data[HEADER.size : start])
    if length != len(payload) or crc != zlib.crc32(payload, zlib.crc32(head)):
        return "damaged"
    return Datagram(kind, session, sequence, stamp_s, payload)


def udp_factory(order: DriverOrder) -> "UdpRobot":
    """Returns the driver of "udp://HOST:PORT".

    Options: ``valid_ms``, how long a command is valid on its way; ``patience_s``, how long a robot
    may take to answer.
    """
    numbers = order.numbers(valid_ms=100.0, patience_s=2.0)
    host, port = parse_address(order.address.removeprefix("//"))
    valid_s = numbers["valid_ms"] / 1e3
    return UdpRobot((host or "127.0.0.1", port), valid_s, numbers["patience_s"])


class UdpRobot:
    """A robot behind the UDP protocol; implements `mjx_s2r.robot.driver.Driver`.

    Attributes:
        counts: datagrams that were dropped, by reason: "damaged", "foreign", "old", "unfit".
    """

    def __init__(
        self, address: tuple[str, int], valid_s: float = 0.1, patience_s: float = 2.0
    ) -> None:
        """Takes the robot's host and port; nothing is sent yet.

        Raises:
            ContractError: a time that is not positive.
        """
        for name, value in (("valid_s", valid_s), ("patience_s", patience_s)):
            if not (math.isfinite(value) and value > 0):
                raise ContractError(f"udp robot: {name} {value} must be a positive time, s")
        self._address, self._valid_s, self._patience_s = address, valid_s, patience_s
        self._session = secrets.randbits(32) or 1
        self._sequence = itertools.count(1)
        self._socket: socket.socket | None = None
        self._info: DriverInfo | None = None
        self._newest: tuple[int, float, Reading] | None = None  # sequence, measured s, reading
        self._flags = 0
        self._taken = 0  # sequence of the last command that the robot took
        self._unanswered: tuple[int, float] | None = None  # sequence, time of the first not taken
        self._acknowledged = 0
        self._echoes: deque[tuple[float, float]] = deque(maxlen=ECHOES)  # way s, offset s
        self._echo_s = -math.inf
        self.counts: Counter[str] = Counter()

    def describe(self) -> DriverInfo:
        """Returns the data sheet that the robot sends; asks for it the first time.

        Raises:
            DriverError: the robot does not answer.
            ContractError: its description cannot be used.
        """
        if self._info is None:
            self._greet()
        assert self._info is not None
        return self._info

    def connect(self) -> None:
        """Greets the robot, which releases its own timeout, reads its clock, awaits a reading.

        Raises:
            DriverError: the robot does not answer.
        """
        self._greet()
        for _ in range(ECHOES):
            self._echo()
            self._wait(0.01)
        give_up_s = time.monotonic() + self._patience_s
        while not self._echoes or self._newest is None:
            if time.monotonic() > give_up_s:
                raise self._silent("sends no readings")
            if time.monotonic() - self._echo_s > self._patience_s / TRIES:
                self._echo()
            self._wait(0.01)

    def read(self) -> Reading:
        """Returns the newest reading; waits for none.

        Raises:
            DriverError: before `connect`.
        """
        self._drain()
        if self._newest is None:
            raise DriverError("the udp robot is not connected; call connect first")
        if time.monotonic() - self._echo_s > ECHO_S:
            self._echo()
        _, measured_s, reading = self._newest
        return Reading(measured_s - self._offset_s(), reading.signals, estop=reading.estop)

    def write(self, command: np.ndarray) -> None:
        """Sends one command (J,), valid for ``valid_s``.

        Raises:
            ValueError: not (J,) finite numbers.
            DriverError: before `connect`; a robot that stopped by itself, or that takes none.
        """
        self._drain()
        if self._newest is None or self._info is None:
            raise DriverError("the udp robot is not connected; call connect first")
        values = np.asarray(command, np.float64)
        if values.shape != (len(self._info.joints),) or not np.all(np.isfinite(values)):
            raise ValueError(f"command {command} must be {len(self._info.joints)} finite numbers")
        if why := self._refusal(self._info):
            raise DriverError(f"{why}; connect again")
        until_s = time.monotonic() + self._valid_s + self._offset_s()
        head = COMMAND_HEAD.pack(self._newest[0], len(values), until_s)
        sent = self._send(Kind.COMMAND, head + values.astype("<f8").tobytes())
        if self._unanswered is None:
            self._unanswered = sent, time.monotonic()

    def stop(self) -> None:
        """Stops the robot and waits for its acknowledgement; does nothing before a first contact.

        Raises:
            DriverError: no acknowledgement came.
        """
        if self._socket is None:
            return
        self._unanswered = None
        for _ in range(TRIES):
            sent = self._send(Kind.STOP, b"")
            give_up_s = time.monotonic() + self._patience_s / TRIES / 4
            while time.monotonic() < give_up_s:
                self._drain()
                if self._acknowledged >= sent:
                    return
                self._wait(0.002)
        raise self._silent("does not acknowledge the stop; press its e-stop")

    def close(self) -> None:
        """Stops the robot and closes the socket."""
        if self._socket is not None:
            try:
                self.stop()
            finally:
                self._socket.close()
                self._socket = self._newest = None

    def _refusal(self, info: DriverInfo) -> str:
        """Returns why the robot takes no commands, or ""."""
        stopped = "the robot stopped by itself: "
        if self._flags & Flag.ESTOP:
            return stopped + "its e-stop is pressed"
        if self._flags & Flag.TIMED_OUT:
            return stopped + f"no command reached it for {info.timeout_s:g} s"
        if self._flags & Flag.UNARMED:
            return stopped + "its e-stop was pressed, and released since"
        if self._unanswered is None:
            return ""
        sequence, since_s = self._unanswered
        if self._flags & Flag.MOVING or self._taken >= sequence:
            self._unanswered = None
            return ""
        silent_s = time.monotonic() - since_s
        if silent_s <= min(self._patience_s, max(info.timeout_s, self._patience_s / TRIES)):
            return ""
        return (
            f"the robot at {self._where()} has taken none of the commands of {silent_s:.2f} s, "
            "though its readings come: it was stopped, or finds that they come too late"
        )

    def _greet(self) -> None:
        """Says hello until the robot describes itself.

        Raises:
            DriverError: it does not.
        """
        if self._socket is None:
            try:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.connect(self._address)
            except OSError as error:
                self._socket = None
                raise DriverError(f"cannot reach a robot at {self._where()}: {error}") from error
            self._socket.setblocking(False)
        self._info = self._newest = self._unanswered = None
        self._flags = self._taken = 0
        for _ in range(TRIES):
            self._send(Kind.HELLO, b"")
            give_up_s = time.monotonic() + self._patience_s / TRIES
            while time.monotonic() < give_up_s:
                self._wait(0.01)
                if self._is_described():
                    return
        raise self._silent("does not answer")

    def _is_described(self) -> bool:
        """Returns whether the robot has described itself."""
        return self._info is not None

    def _silent(self, what: str) -> DriverError:
        """Returns the error of a robot that says nothing."""
        return DriverError(
            f"the robot at {self._where()} {what}; is its program running, its address right, and "
            "no other controller connected?"
        )

    def _where(self) -> str:
        """Returns the address in words."""
        return f"udp://{self._address[0]}:{self._address[1]}"

    def _send(self, kind: Kind, payload: bytes) -> int:
        """Sends a datagram; returns its sequence number. What cannot be sent counts as lost."""
        sequence = next(self._sequence)
        datagram = Datagram(kind, self._session, sequence, time.monotonic(), payload)
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(pack_datagram(datagram))
        return sequence

    def _echo(self) -> None:
        """Asks for the robot's clock."""
        self._echo_s = time.monotonic()
        self._send(Kind.ECHO, struct.pack("<d", self._echo_s))

    def _offset_s(self) -> float:
        """Returns the robot's clock minus this machine's, s."""
        return min(self._echoes)[1]

    def _wait(self, seconds: float) -> None:
        """Waits for a datagram, and takes what has come."""
        if self._socket is not None:
            select.select([self._socket], (), (), seconds)
            self._drain()

    def _drain(self) -> None:
        """Takes everything that has come."""
        for _ in range(1024):
            try:
                data = self._socket.recv(MOST) if self._socket is not None else b""
            except BlockingIOError:
                return
            except OSError:  # nobody listens there (yet)
                return
            if not data:
                return
            got = unpack_datagram(data)
            if isinstance(got, str):
                self.counts[got] += 1
            elif got.session != self._session:
                self.counts["foreign"] += 1
            else:
                self._take(got)

    def _take(self, got: Datagram) -> None:
        """Takes one datagram of the robot."""
        if got.kind == Kind.READING:
            self._take_reading(got)
        elif got.kind == Kind.DESCRIBE:
            self._info = _described(got.payload)
        elif got.kind == Kind.ECHOED and len(got.payload) == 8:
            now_s, (asked_s,) = time.monotonic(), struct.unpack("<d", got.payload)
            if 0 <= now_s - asked_s < self._patience_s:
                self._echoes.append((now_s - asked_s, got.stamp_s - (asked_s + now_s) / 2))
        elif got.kind == Kind.STOPPED and len(got.payload) == 4:
            self._acknowledged = max(self._acknowledged, CRC.unpack(got.payload)[0])

    def _take_reading(self, got: Datagram) -> None:
        """Takes a reading that is newer than the last."""
        if self._info is None:
            return
        if self._newest is not None and got.sequence <= self._newest[0]:
            self.counts["old"] += 1
            return
        if len(got.payload) != READING_HEAD.size + 8 * sum(self._info.signals.values()):
            self.counts["unfit"] += 1
            return
        self._flags, self._taken, measured_s = READING_HEAD.unpack(got.payload[: READING_HEAD.size])
        values = np.frombuffer(got.payload, "<f8", offset=READING_HEAD.size).astype(np.float64)
        ends = np.cumsum(list(self._info.signals.values()))[:-1]
        signals = dict(zip(self._info.signals, np.split(values, ends), strict=True))
        pressed = bool(self._flags & Flag.ESTOP)
        reading = Reading(measured_s, signals, estop=pressed)
        self._newest = got.sequence, measured_s, reading


def _described(payload: bytes) -> DriverInfo:
    """Returns the data sheet in a description.

    Raises:
        ContractError: no JSON, a field that is missing or of another kind.
    """
    try:
        values: dict[str, Any] = json.loads(payload)
        joints = tuple(values["joints"])
        known = {f.name for f in fields(DriverInfo)} - {"cameras"}
        given = {name: x for name, x in values.items() if name in known}
        for name, sign in (("low", -1), ("high", 1), ("max_rate", 1), ("max_effort", 1)):
            limits = values.get(name) or [None] * len(joints)
            given[name] = tuple(sign * math.inf if x is None else float(x) for x in limits)
        signals = {str(name): int(size) for name, size in values["signals"]}
        return DriverInfo(**{**given, "joints": joints, "signals": signals})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(f"the robot's description cannot be used: {error!r}") from error
