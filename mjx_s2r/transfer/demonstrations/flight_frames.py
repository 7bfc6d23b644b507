"""Flight logs as demonstrations: what the robot saw and read, and what was sent to it.

A row is a step in which the policy was in charge (`Phase.RUN`) and the guard let it run. Where such
steps are interrupted, a new episode begins. Readings are assembled anew by the student's contract,
so a log of another policy of the same robot serves, too. A picture that was dropped is the one
before it. Pictures of a camera that was calibrated are turned into those of the model's camera, as
the controller does before the policy sees them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from mjx_s2r.contract import ActionSpec, CameraSignal, ContractError, PolicyContract, encode_depth
from mjx_s2r.robot.camera_warp import CameraCalibration, CameraWarp, warps_of
from mjx_s2r.robot.drivers.pictures import resize
from mjx_s2r.robot.frames import as_read, is_picture
from mjx_s2r.robot.log import Flight, LogError, Step, read
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.safety import Mode
from mjx_s2r.transfer.demonstrations.dataset import DemonstrationWriter
from mjx_s2r.transfer.demonstrations.frame_checks import check_joint_units, check_same_joints
from mjx_s2r.transfer.demonstrations.recovered_actions import (
    CLIP_SLACK,
    RecoveredActions,
    assembled_readings,
    first_held,
    recover_actions,
)
from mjx_s2r.transfer.recording import RecordingError

FlightLabels = Literal["sent", "proposed"]
PictureFit = Literal["refuse", "crop", "squash"]
GAP = 1.5  # control periods; a longer step begins a new episode
LEAST_ROWS = 2


def flight_frames(
    writer: DemonstrationWriter,
    path: Path,
    *,
    labels: FlightLabels = "sent",
    fit: PictureFit = "refuse",
    warps: Mapping[str, CameraWarp] | None = None,
    most: int = 0,
) -> int:
    """Appends the episodes of a flight log; returns how many.

    Args:
        writer: of the set.
        path: the log's first file.
        labels: "sent" learns the commands that were sent, "proposed" the policy's own answers.
        fit: what becomes of pictures of another size.
        warps: by camera; None takes the calibrations that the log was flown with.
        most: episodes at most; 0 is all.

    Raises:
        RecordingError: no flight log, of another robot, rate or camera, or values that cannot be.
    """
    contract = writer.contract
    try:
        flight = read(path)
        _check_flight(path.name, flight, contract)
        steps = list(flight.bare())
        warps = _flown_warps(flight, contract) if warps is None else warps
    except (LogError, ContractError) as error:
        raise RecordingError(str(error)) from error
    reads = PictureReader(fit, warps)
    pieces = _pieces(steps, contract)
    kept = [piece for piece in pieces if len(piece) >= LEAST_ROWS]
    if len(kept) < len(pieces):
        lost = len(pieces) - len(kept)
        writer.notes.append(f"{path.name}: {lost} pieces of less than {LEAST_ROWS} steps left out")
    for number, piece in enumerate(kept[: most or None]):
        name = path.name if len(kept) == 1 else f"{path.name} part {number}"
        _append(writer, name, flight, steps, piece, labels, reads)
    return len(kept[: most or None])


def _check_flight(file: str, flight: Flight, contract: PolicyContract) -> None:
    """Raises RecordingError for a log that the policy cannot learn from."""
    theirs = flight.contract
    check_same_joints(file, theirs.action.joints, contract.action.joints)
    if theirs.action.joints != contract.action.joints:
        raise RecordingError(
            f"{file} has the joints in the order {list(theirs.action.joints)}, the policy in "
            f"{list(contract.action.joints)}; adapt a student of that task"
        )
    if abs(theirs.control_hz - contract.control_hz) > 1e-3 * contract.control_hz:
        raise RecordingError(
            f"{file} was flown at {theirs.control_hz:g} Hz, the policy acts at "
            f"{contract.control_hz:g} Hz; record at its rate"
        )
    if (theirs.action.mode == "effort") != (contract.action.mode == "effort"):
        raise RecordingError(
            f"{file} holds actions of mode {theirs.action.mode!r}, the policy's are "
            f"{contract.action.mode!r}"
        )
    known = [c.name for c in theirs.cameras]
    for camera in contract.cameras:
        if camera.name not in known:
            raise RecordingError(
                f"{file} has no pictures of camera {camera.name!r}; it has {known or 'none'}"
            )


def _pieces(steps: Sequence[Step], contract: PolicyContract) -> list[list[int]]:
    """Returns the stretches of steps that can be learned from, as numbers of steps."""
    flown = {step.phase for step in steps} != {Phase.PASSIVE}
    pieces: list[list[int]] = []
    for usable, group in groupby(range(len(steps)), lambda i: _is_usable(steps[i], flown)):
        if not usable:
            continue
        piece: list[int] = []
        for i in group:
            if piece and steps[i].time_s - steps[i - 1].time_s > GAP / contract.control_hz:
                pieces.append(piece)
                piece = []
            piece.append(i)
        pieces.append(piece)
    return pieces


def _is_usable(step: Step, flown: bool) -> bool:
    """Returns whether a step shows what the policy saw and what was done about it."""
    in_charge = step.mode == Mode.RUN and (step.phase == Phase.RUN or not flown)
    return in_charge and step.reading is not None and step.command is not None


def _append(
    writer: DemonstrationWriter,
    name: str,
    flight: Flight,
    steps: Sequence[Step],
    piece: Sequence[int],
    labels: FlightLabels,
    reads: "PictureReader",
) -> None:
    """Appends one episode."""
    contract = writer.contract
    rows = [steps[i] for i in piece]
    signals = _signals(name, rows, contract)
    held = np.array(
        [_held(contract.action, steps, i, signals, j) for j, i in enumerate(piece)], np.float32
    )
    sent = np.array([step.command for step in rows], np.float32)
    positions = signals.get("joint_pos", np.zeros((0, 0)))
    if positions.shape == sent.shape:
        check_joint_units(name, contract, positions, sent)
    found = recover_actions(contract.action, sent, held[0], held)
    if labels == "proposed":
        found = _proposed(name, rows, contract, found)
    span = rows[0].time_s, float(np.nextafter(rows[-1].time_s, np.inf))
    given = contract.control_hz, reads, name, writer.notes
    shown = [_Shown(flight, span, camera, *given) for camera in contract.cameras]
    writer.append(
        name,
        assembled_readings(contract, signals, held, name),
        found.actions if writer.labelled else None,
        shown,
        found.clipped,
    )


def _signals(name: str, rows: Sequence[Step], contract: PolicyContract) -> dict[str, np.ndarray]:
    """Returns the signals of the contract that the rows hold, (T, size) each."""
    found = {}
    for signal in [s.name for s in contract.signals if s.name != "command"] + ["joint_pos"]:
        values = [None if s.reading is None else s.reading.signals.get(signal) for s in rows]
        if all(x is None for x in values):
            continue
        first = values[0]
        for step, value in zip(rows, values, strict=True):
            alike = value is not None and first is not None and value.shape == first.shape
            if value is None or not alike or value.dtype.kind not in "fiub":
                raise RecordingError(f"{name} step {step.step}: signal {signal!r} is {value}")
        found[signal] = np.array(values, np.float64).reshape(len(rows), -1)
    return found


def _held(
    action: ActionSpec,
    steps: Sequence[Step],
    index: int,
    signals: dict[str, np.ndarray],
    row: int,
) -> np.ndarray:
    """Returns the command (J,) before a step: what was sent last, or what a flight begins with."""
    command = steps[index].command
    assert command is not None
    if index and steps[index - 1].command is not None:
        return np.asarray(steps[index - 1].command)
    measured = signals.get("joint_pos")
    if measured is None or measured.shape[1:] != command.shape:
        return first_held(action, None)
    return first_held(action, measured[row])


def _proposed(
    name: str, rows: Sequence[Step], contract: PolicyContract, sent: RecoveredActions
) -> RecoveredActions:
    """Returns what the policy that flew answered, as actions."""
    answers = []
    for step in rows:
        if step.output is None or step.output.shape != (len(contract.action.joints),):
            raise RecordingError(
                f"{name} step {step.step} holds no answer of a policy; learn what was sent instead"
            )
        answers.append(step.output)
    raw = np.array(answers, np.float32) / np.asarray(contract.action.scale, np.float32)
    outside = float((np.abs(raw) > 1 + CLIP_SLACK).mean())
    return RecoveredActions(np.clip(raw, -1, 1), sent.held, outside)


class _Shown:
    """The pictures of an episode, one a row, read when they are asked for.

    A policy takes a picture when the camera's period has passed since the one before, give or take
    half a control period; a camera that delivers more often is looked at less often.
    """

    def __init__(
        self,
        flight: Flight,
        span: tuple[float, float],
        camera: CameraSignal,
        control_hz: float,
        reads: "PictureReader",
        name: str,
        notes: list[str],
    ) -> None:
        """Takes where they lie, between two times, s, and where to say how many are missing."""
        self._least_s = 1 / camera.rate_hz - 0.5 / control_hz
        self._flight, self._span, self._camera = flight, span, camera
        self._reads, self._name, self._notes = reads, name, notes

    def __iter__(self) -> Iterator[tuple[np.ndarray, bool]]:
        """Yields (H, W, C) each, and whether it is new to the policy.

        The one before stands in for one that was dropped.
        """
        camera, last, lost, waiting, taken_s = self._camera, None, 0, 0, -math.inf
        for step in self._flight.steps.between(*self._span):
            image = step.reading.images.get(camera.name) if step.reading else None
            if step.reading is None or image is None:
                lost, waiting = lost + 1, waiting + (last is None)
                if last is not None:
                    yield last, False
                continue
            last = self._reads(camera, image, f"{self._name} step {step.step}")
            now_s = step.reading.image_time_s.get(camera.name, step.time_s)
            new = now_s - taken_s >= self._least_s
            taken_s = now_s if new else taken_s
            for row in range(waiting + 1):  # the first picture stands in for those before it
                yield last, new and row == 0
            waiting = 0
        if last is None:
            raise RecordingError(f"{self._name} holds no picture of camera {camera.name!r}")
        if lost:
            self._notes.append(f"{self._name}: {lost} pictures of {camera.name!r} were dropped")


def _flown_warps(flight: Flight, contract: PolicyContract) -> dict[str, CameraWarp]:
    """Returns the warps that the controller had."""
    held = flight.config.get("calibrations") or ()
    return warps_of(tuple(map(CameraCalibration.of_json, held)), contract)


@dataclass(frozen=True, eq=False)
class PictureReader:
    """Turns recorded pictures into those that a student's training keeps.

    Attributes:
        fit: what becomes of pictures of another size.
        warps: of calibrated cameras, by name.
    """

    fit: PictureFit = "refuse"
    warps: Mapping[str, CameraWarp] = field(default_factory=dict)

    def __call__(self, camera: CameraSignal, image: np.ndarray, where: str) -> np.ndarray:
        """Returns (H, W, C) uint8, or uint16 codes of depth.

        Args:
            camera: of the contract.
            image: as the driver delivered it.
            where: file and row, for the error.

        Raises:
            RecordingError: another size under "refuse", or another type.
        """
        sized = image
        if self.fit != "refuse" and image.ndim >= 2 and image.shape[2:] in ((), (3,)):
            sized = resize(image, camera.height, camera.width, self.fit)
        if not is_picture(camera, sized):
            kind = "float32 or uint16" if camera.kind == "depth" else "uint8"
            channels = "" if camera.kind == "depth" else "x3"
            remedy = "; give fit crop or squash for another size" if self.fit == "refuse" else ""
            raise RecordingError(
                f"{where}: the picture of camera {camera.name!r} is "
                f"{'x'.join(map(str, image.shape))} {image.dtype.name}, the policy reads "
                f"{camera.height}x{camera.width}{channels} {kind}{remedy}"
            )
        picture = as_read(camera, sized)
        if camera.name in self.warps:
            picture = self.warps[camera.name](picture)
        if camera.kind == "depth":
            return np.asarray(encode_depth(np, camera, picture))
        return picture
