"""LeRobot datasets, version 3.0, as demonstrations: tables by pyarrow, videos by PyAV.

Joint values come from "action" (goal positions) and "observation.state" (what was measured), each
with one number per motor. A calibration file makes them rad or m; without one their names must be
the policy's joints, perhaps with ".pos". A mapping file says all of it column by column instead
(`mjx_s2r.transfer.mapping`). Other signals are columns "observation.NAME". Rows at another rate
than the policy's are interpolated, pictures are the nearest ones.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract
from mjx_s2r.robot.calibration import JointCalibration, read_calibration
from mjx_s2r.robot.log import LogError
from mjx_s2r.robot.log.extras import need
from mjx_s2r.transfer.demonstrations.dataset import DemonstrationWriter
from mjx_s2r.transfer.demonstrations.flight_frames import LEAST_ROWS, PictureReader
from mjx_s2r.transfer.demonstrations.frame_checks import (
    check_frame_rows,
    check_joint_units,
    check_no_missing,
    check_same_joints,
)
from mjx_s2r.transfer.demonstrations.recovered_actions import (
    assembled_readings,
    first_held,
    recover_actions,
)
from mjx_s2r.transfer.mapping import CameraMapping, ColumnMapping, LogMapping, ReadingMapping
from mjx_s2r.transfer.readers.array_tables import read_lerobot_log
from mjx_s2r.transfer.readers.mapped import columns_wanted, rows_of_table
from mjx_s2r.transfer.readers.segments import LogRows
from mjx_s2r.transfer.readers.table import LogTable, bases_of
from mjx_s2r.transfer.recording import Channel, RecordingError

USE = "a LeRobot dataset"
VERSION = "v3.0"
STATE, ACTION = "observation.state", "action"
FRAME_COLUMNS = ("episode_index", "frame_index", "timestamp")


@dataclass(frozen=True)
class LerobotSet:
    """A dataset folder, opened.

    Attributes:
        folder: of the dataset.
        fps: rows per second.
        features: name -> what info.json says of it.
        video_path: where videos lie, with fields.
        episodes: rows of meta/episodes, by episode_index.
    """

    folder: Path
    fps: float
    features: Mapping[str, Mapping[str, Any]]
    video_path: str
    episodes: Mapping[int, Mapping[str, Any]]


def open_lerobot(folder: Path) -> LerobotSet:
    """Opens a dataset folder.

    Raises:
        RecordingError: pyarrow or PyAV are missing, it is none, or of another version.
    """
    try:
        pq, _ = need("pyarrow.parquet", USE), need("av", USE)
    except LogError as error:
        raise RecordingError(str(error)) from error
    try:
        info = json.loads((folder / "meta" / "info.json").read_text())
        version, fps, features = info["codebase_version"], float(info["fps"]), info["features"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(
            f"{folder} is no LeRobot dataset: meta/info.json: {error!r}"
        ) from error
    if version != VERSION:
        raise RecordingError(
            f"{folder} is a LeRobot dataset {version}, and {VERSION} is read; convert it with "
            "LeRobot's convert_dataset_v21_to_v30"
        )
    files = sorted((folder / "meta" / "episodes").rglob("*.parquet"))
    if not files:
        raise RecordingError(f"{folder} has no meta/episodes/**/*.parquet; fetch the whole dataset")
    episodes: dict[int, Mapping[str, Any]] = {}
    for file in files:
        try:
            names = [n for n in pq.read_schema(file).names if not n.startswith("stats/")]
            rows = pq.read_table(file, columns=names).to_pylist()
        except (OSError, ValueError) as error:
            raise RecordingError(f"{file.name} is no whole parquet file: {error}") from error
        episodes |= {int(row["episode_index"]): row for row in rows}
    return LerobotSet(folder, fps, features, info.get("video_path") or "", episodes)


def lerobot_frames(
    writer: DemonstrationWriter,
    folder: Path,
    *,
    mapping: LogMapping | None = None,
    calibration: Path | None = None,
    reads: PictureReader | None = None,
    most: int = 0,
) -> int:
    """Appends the episodes of a dataset; returns how many.

    Args:
        writer: of the set.
        folder: of the dataset.
        mapping: which column is what; None goes by the names.
        calibration: of the motors, ours or LeRobot's file; without a mapping alone.
        reads: what becomes of pictures; None takes those of the policy's size as they are.
        most: episodes at most; 0 is all.

    Raises:
        RecordingError: a dataset, table, video or value that cannot be used; file and row named.
    """
    contract, source = writer.contract, open_lerobot(folder)
    named = mapping if mapping is not None else _mapping_by_names(source, contract, calibration)
    wanted = [name for name in columns_wanted(named) if name]
    _check_tables(source, wanted)
    tables = read_lerobot_log(folder, wanted)
    keys = _picture_keys(source, contract, named)
    videos = {name: _Videos(source, key.key, key.order == "BGR") for name, key in keys.items()}
    slides = dict(zip(contract.action.joints, _slides(contract), strict=True))
    try:
        for count, table in enumerate(tables[: most or None], 1):
            number = int(table.head["episode_index"])
            length = source.episodes.get(number, {}).get("length")
            if length is None or int(length) != len(table):
                raise RecordingError(
                    f"{folder.name} episode {number}: meta/episodes says {length} rows, its table "
                    f"has {len(table)}; fetch the dataset again"
                )
            rows, _ = rows_of_table(table, named, slides)
            _append(writer, source, table, rows, videos, number, reads or PictureReader())
            writer.notes += [] if count > 1 else _rate_notes(source, contract)
    finally:
        for video in videos.values():
            video.close()
    return len(tables[: most or None])


def _check_tables(source: LerobotSet, wanted: Sequence[str]) -> None:
    """Checks the tables file by file, so that an error can name file and row."""
    pq = need("pyarrow.parquet", USE)
    files = sorted((source.folder / "data").rglob("*.parquet"))
    if not files:
        raise RecordingError(
            f"{source.folder} holds no data/**/*.parquet; fetch the dataset's data"
        )
    for file in files:
        name = str(file.relative_to(source.folder))
        try:
            known = pq.read_schema(file).names
            bases = [base for base in bases_of(wanted) if base in known]
            table = pq.read_table(file, columns=[*{*bases, *(set(FRAME_COLUMNS) & set(known))}])
        except (OSError, ValueError) as error:
            raise RecordingError(f"{name} is no whole parquet file: {error}") from error
        columns = {c: np.array(table[c].to_pylist(), float) for c in table.column_names}
        check_frame_rows(name, {k: x for k, x in columns.items() if k in FRAME_COLUMNS}, source.fps)
        for base in bases:
            check_no_missing(name, base, columns[base])


def _mapping_by_names(
    source: LerobotSet, contract: PolicyContract, calibration: Path | None
) -> LogMapping:
    """Returns what the columns are, by their names, as LeRobot and our own export write them."""
    joints, features = contract.action.joints, source.features
    calibrated: dict[str, JointCalibration] = {}
    if calibration is not None:
        try:
            calibrated = {x.joint: x for x in read_calibration(calibration)}
        except ContractError as error:
            raise RecordingError(str(error)) from error
        check_same_joints(str(calibration), list(calibrated), joints)
    columns: dict[str, dict[str, ColumnMapping]] = {}
    for key in (STATE, ACTION):
        names = features.get(key, {}).get("names")
        if not isinstance(names, list):
            raise RecordingError(
                f"{source.folder.name} has no {key!r} with names; it has {sorted(features)}: give "
                "a mapping file"
            )
        motors = {str(name).removesuffix(".pos"): str(name) for name in names}
        called = {j: calibrated[j].motor if calibrated else j for j in joints}
        check_same_joints(f"{source.folder.name}: {key!r}", list(motors), list(called.values()))
        unit = "calibrated" if calibrated else ""
        columns[key] = {j: ColumnMapping(f"{key}[{motors[called[j]]}]", unit) for j in joints}
    readings = [ReadingMapping(Channel("joint_pos", j), columns[STATE][j]) for j in joints]
    for s in contract.signals:
        key = f"observation.{s.name.replace('/', '.')}"
        if s.name in ("joint_pos", "command") or features.get(key, {}).get("shape") != [s.size]:
            continue
        for i in range(s.size):
            column = key if s.size == 1 else f"{key}[{i}]"
            readings.append(ReadingMapping(Channel("sensor", s.name, i), ColumnMapping(column)))
    return LogMapping(commands=columns[ACTION], readings=tuple(readings), calibration=calibrated)


def _picture_keys(
    source: LerobotSet, contract: PolicyContract, mapping: LogMapping
) -> dict[str, CameraMapping]:
    """Returns camera -> the feature that holds its pictures."""
    videos = [key for key, x in source.features.items() if x.get("dtype") == "video"]
    found = {}
    for camera in contract.cameras:
        if camera.kind == "depth":
            raise RecordingError(
                f"camera {camera.name!r} is a depth camera, and LeRobot's videos hold 8 bits; "
                "learn from flight logs"
            )
        wanted = mapping.cameras.get(
            camera.name, CameraMapping(f"observation.images.{camera.name}")
        )
        if wanted.key not in videos:
            raise RecordingError(
                f"{source.folder.name} has no video {wanted.key!r} for camera {camera.name!r}; it "
                f"has {videos}: name one in [cameras] of a mapping file, {camera.name} = "
                f'"{videos[0] if videos else "KEY"}"'
            )
        found[camera.name] = wanted
    return found


def _append(
    writer: DemonstrationWriter,
    source: LerobotSet,
    table: LogTable,
    rows: LogRows,
    videos: Mapping[str, "_Videos"],
    number: int,
    reads: PictureReader,
) -> None:
    """Appends one episode, at the policy's rate."""
    contract, name = writer.contract, f"{source.folder.name} episode {number}"
    if rows.mode != ("effort" if contract.action.mode == "effort" else "position"):
        raise RecordingError(
            f"{name} holds commands of mode {rows.mode!r}, the policy's action is "
            f"{contract.action.mode!r}"
        )
    check_same_joints(name, rows.joints, contract.action.joints)
    recorded_s = np.arange(len(table)) / source.fps
    times = _control_times(recorded_s[-1], contract.control_hz)
    if len(times) < LEAST_ROWS:
        writer.notes.append(f"{name} is shorter than {LEAST_ROWS} control periods and left out")
        return
    order = [rows.joints.index(j) for j in contract.action.joints]
    targets = _at(times, recorded_s, rows.commands[:, order])
    signals = _signals(name, contract, rows)
    signals = {k: _at(times, recorded_s, x) for k, x in signals.items()}
    positions = signals.get("joint_pos", np.zeros((0, targets.shape[1])))
    check_joint_units(name, contract, positions, targets)
    start = first_held(contract.action, positions[0] if len(positions) else None)
    found = recover_actions(contract.action, targets, start)
    shown = np.rint(times * source.fps).astype(int)
    writer.append(
        name,
        assembled_readings(contract, signals, found.held, name),
        found.actions if writer.labelled else None,
        [
            _read(c, contract.control_hz, videos[c.name].frames(number, shown), reads, name)
            for c in contract.cameras
        ],
        found.clipped,
    )


def _signals(name: str, contract: PolicyContract, rows: LogRows) -> dict[str, np.ndarray]:
    """Returns the policy's signals (T, size) that the channels hold."""
    at = {(c.kind, c.element, c.column): i for i, c in enumerate(rows.channels)}
    found = {}
    for kind in ("joint_pos", "joint_vel"):
        places = [at.get((kind, joint, 0)) for joint in contract.action.joints]
        known = [place for place in places if place is not None]
        if len(known) == len(places):
            found[kind] = rows.readings[:, known]
    for s in contract.signals:
        places = [at.get(("sensor", s.name, i)) for i in range(s.size)]
        known = [place for place in places if place is not None]
        if len(known) == s.size and s.name not in found:
            found[s.name] = rows.readings[:, known]
    for key, values in found.items():
        check_no_missing(name, key, values)
    check_no_missing(name, "action", rows.commands)
    return found


def _slides(contract: PolicyContract) -> list[bool]:
    """Returns whether each joint moves along a line."""
    return [unit in ("m", "N") for unit in contract.action.units]


def _control_times(last_s: float, hz: float) -> np.ndarray:
    """Returns (T,) the times of the control steps, from 0 to ``last_s``."""
    return np.arange(int(np.floor(last_s * hz + 1e-6)) + 1) / hz


def _at(times: np.ndarray, recorded_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns (T, n) columns (R, n) interpolated to other times."""
    return np.stack([np.interp(times, recorded_s, x) for x in values.T], 1)


def _rate_notes(source: LerobotSet, contract: PolicyContract) -> list[str]:
    """Returns a sentence where rows had to be interpolated."""
    if abs(source.fps - contract.control_hz) < 1e-6:
        return []
    return [
        f"{source.folder.name} has {source.fps:g} rows per second, the policy acts at "
        f"{contract.control_hz:g} Hz; values were interpolated, pictures are the nearest ones"
    ]


def _read(
    camera: CameraSignal,
    control_hz: float,
    pictures: Iterator[np.ndarray],
    reads: PictureReader,
    name: str,
) -> Iterator[tuple[np.ndarray, bool]]:
    """Yields pictures as the policy reads them, one a row, and which of them its camera takes."""
    every = max(1, round(control_hz / camera.rate_hz))
    for row, picture in enumerate(pictures):
        yield reads(camera, picture, f"{name} row {row}"), row % every == 0


@dataclass
class _Videos:
    """The videos of one camera, decoded one after another."""

    source: LerobotSet
    key: str
    swap: bool
    _path: Path | None = None
    _file: Any = None
    _frames: Iterator[Any] = field(default_factory=lambda: iter(()))
    _last: tuple[int, Any] = (-1, None)
    _start_s: float | None = None  # of the file's first picture

    def frames(self, episode: int, shown: np.ndarray) -> Iterator[np.ndarray]:
        """Yields (H, W, 3) uint8 RGB: the frames of an episode with these numbers (T,), rising.

        Raises:
            RecordingError: no such video, one that cannot be read, or is shorter than its table.
        """
        row = self.source.episodes[episode]
        try:
            place = {k: row[f"videos/{self.key}/{k}"] for k in ("chunk_index", "file_index")}
            start_s = float(row[f"videos/{self.key}/from_timestamp"])
        except (KeyError, TypeError):
            raise RecordingError(
                f"{self.source.folder.name} episode {episode}: meta/episodes does not say where "
                f"the video of {self.key!r} is"
            ) from None
        path = self.source.folder / self.source.video_path.format(video_key=self.key, **place)
        first = round(start_s * self.source.fps)
        if path != self._path or self._last[0] > first + int(shown[0]):
            self._open(path)
        for number in shown.tolist():
            yield self._picture(path, first + number, episode, number)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
        self._file, self._path = None, None

    def _open(self, path: Path) -> None:
        av = need("av", USE)
        self.close()
        try:
            self._file = av.open(str(path))
            self._frames = self._file.decode(video=0)
        except (OSError, IndexError, ValueError) as error:  # PyAV's errors are of these
            raise RecordingError(f"{path} is no video that can be read: {error}") from error
        self._path, self._last, self._start_s = path, (-1, None), None

    def _picture(self, path: Path, wanted: int, episode: int, row: int) -> np.ndarray:
        """Returns the frame of a file with the number ``wanted``."""
        while self._last[0] < wanted:
            try:
                frame = next(self._frames, None)
            except (OSError, ValueError) as error:
                raise RecordingError(f"{path} is damaged: {error}") from error
            if frame is None:
                name = str(path.relative_to(self.source.folder))
                raise RecordingError(
                    f"{name} is shorter than its table: it ends after {self._last[0] + 1} pictures,"
                    f" and row {row} of episode {episode} shows picture {wanted}; fetch it again"
                )
            number = self._last[0] + 1
            if frame.time is not None:
                self._start_s = frame.time if self._start_s is None else self._start_s
                number = round((frame.time - self._start_s) * self.source.fps)
            self._last = number, frame.to_ndarray(format="rgb24") if number >= wanted else None
        picture: np.ndarray = self._last[1]
        if self._last[0] != wanted:
            raise RecordingError(
                f"{path.relative_to(self.source.folder)} has no picture {wanted}, which row {row} "
                f"of episode {episode} shows; its frames have mixed rates"
            )
        return picture[..., ::-1] if self.swap else picture
