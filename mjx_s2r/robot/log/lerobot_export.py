"""Flight logs as a LeRobot dataset, version 3.0: one episode per log.

Layout and columns follow `lerobot/datasets/lerobot_dataset.py` of LeRobot 0.4.4. LeRobot stamps
frame k with k / fps, so each frame is the step nearest to that time; the real times stay in two
more columns, "time.mono_s" of the controller's clock and "time.wall_s". "observation.state" are the
joints' positions and "action" the commands that were sent, in rad or m, or in the motors' own units
where a calibration is given. Other signals are "observation.NAME". Depth is left out: LeRobot's
videos have eight bits. Steps without a reading or a command are no frames.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.log.extras import need
from mjx_s2r.robot.log.lerobot_stats import (
    Stats,
    column_statistics,
    image_statistics,
    merged_statistics,
)
from mjx_s2r.robot.log.reader import Flight
from mjx_s2r.robot.log.records import LogError, Step
from mjx_s2r.robot.log.video import write_video
from mjx_s2r.robot.verdict import TOLD

USE = "a LeRobot dataset"
CHUNK = 1000  # files in one folder
DATA_MB, VIDEO_MB = 100, 200  # LeRobot's defaults; a data file ends at the first
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
STATE, ACTION, POSITION = "observation.state", "action", "joint_pos"
INDICES = ("frame_index", "episode_index", "index", "task_index")
SAMPLED = 100  # pictures of an episode in its statistics

Column = np.ndarray  # (T, n)


@dataclass(frozen=True)
class DatasetSummary:
    """What was written.

    Attributes:
        folder: of the dataset.
        episodes: number of episodes.
        frames: number of frames.
        fps: frames per second.
        left_out: what the logs hold and the dataset does not, one sentence each.
    """

    folder: Path
    episodes: int
    frames: int
    fps: int
    left_out: tuple[str, ...]


def export_lerobot(
    flights: Sequence[Flight],
    folder: str | Path,
    *,
    task: str = "",
    fps: int | None = None,
    calibration: Sequence[JointCalibration] = (),
) -> DatasetSummary:
    """Writes logs of one policy's contract as a dataset.

    Args:
        flights: opened logs; each is an episode.
        folder: a folder that does not exist yet.
        task: what the robot does, in words; "" takes the task's name.
        fps: frames per second; None takes the control rate.
        calibration: writes the joints in the motors' units and order, as LeRobot records them.

    Raises:
        LogError: pyarrow or PyAV are missing, the folder exists, the logs do not fit each other, or
            hold no frame.
    """
    need("pyarrow.parquet", USE)
    need("av", USE)
    folder = Path(folder)
    if folder.exists():
        raise LogError(f"{folder} exists; name a new folder")
    contract = _common_contract(flights)
    rate = fps or round(contract.control_hz)
    if not fps and abs(rate - contract.control_hz) > 1e-6:
        raise LogError(
            f"LeRobot's frames per second are whole, and the control rate is {contract.control_hz} "
            f"Hz; give fps, e.g. {rate}"
        )
    beside = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    book = _Book(beside, contract, rate, task or contract.task, tuple(calibration))
    try:
        for flight in flights:
            _put_episode(book, flight)
        book.finish(flights[0].robot)
        beside.replace(folder)
    except OSError as error:
        raise LogError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return DatasetSummary(folder, len(book.episodes), book.frames, rate, tuple(book.left_out))


def _common_contract(flights: Sequence[Flight]) -> PolicyContract:
    """Returns the contract of logs that can be one dataset.

    Raises:
        LogError: no log, efforts for actions, or other joints, cameras or rates.
    """
    if not flights:
        raise LogError("a dataset needs at least one flight log")
    first = flights[0].contract
    if first.action.mode == "effort":
        raise LogError(
            "the policy commands efforts, and LeRobot's actions are joint positions; export to MCAP"
        )
    for flight in flights:
        other = flight.contract
        for name, ours, theirs in (
            ("joints", first.action.joints, other.action.joints),
            ("cameras", first.cameras, other.cameras),
            ("control rate", first.control_hz, other.control_hz),
        ):
            if ours != theirs:
                raise LogError(
                    f"the logs differ in their {name}: {ours} and {theirs}; export apart"
                )
    return first


@dataclass
class _Book:
    """A dataset that is being written."""

    folder: Path
    contract: PolicyContract
    fps: int
    task: str
    calibration: tuple[JointCalibration, ...]
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    episodes: list[dict[str, Any]] = field(default_factory=list)
    stats: list[Stats] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    frames: int = 0
    file: int = 0
    file_bytes: int = 0
    writer: Any = None

    def write_data(self, columns: Mapping[str, Column]) -> None:
        """Appends an episode's columns to the data file, or to the next one when it is full."""
        pa, pq = need("pyarrow", USE), need("pyarrow.parquet", USE)
        table = pa.table({name: _arrow(pa, x) for name, x in columns.items()})
        if self.writer is not None and self.file_bytes + table.nbytes > DATA_MB * 2**20:
            self.writer.close()
            self.writer, self.file, self.file_bytes = None, self.file + 1, 0
        if self.writer is None:
            path = self.folder / DATA_PATH.format(**_place(self.file))
            path.parent.mkdir(parents=True, exist_ok=True)
            self.writer = pq.ParquetWriter(path, table.schema)
        elif table.schema != self.writer.schema:
            raise LogError("the logs hold different signals; export them apart")
        self.writer.write_table(table)
        self.file_bytes += table.nbytes

    def finish(self, robot: str) -> None:
        """Closes the data and writes what stands in meta/."""
        pa, pq = need("pyarrow", USE), need("pyarrow.parquet", USE)
        if self.writer is None:
            raise LogError("the logs hold no step with a reading and a command: nothing to export")
        self.writer.close()
        meta = self.folder / "meta"
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.episodes), self.folder / EPISODES_PATH)
        pq.write_table(_tasks(pa, [self.task]), meta / "tasks.parquet")
        stats = {key: _listed(x) for key, x in merged_statistics(self.stats).items()}
        (meta / "stats.json").write_text(json.dumps(stats, indent=4))
        videos = any(ft["dtype"] == "video" for ft in self.features.values())
        info = {
            "codebase_version": "v3.0",
            "robot_type": robot,
            "total_episodes": len(self.episodes),
            "total_frames": self.frames,
            "total_tasks": 1,
            "chunks_size": CHUNK,
            "data_files_size_in_mb": DATA_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if videos else None,
            "features": self.features,
        }
        (meta / "info.json").write_text(json.dumps(info, indent=4))


def _put_episode(book: _Book, flight: Flight) -> None:
    """Writes one log as an episode; one without frames is left out."""
    number = len(book.episodes)
    name = flight.paths[0].name if flight.paths else flight.robot
    steps = [step for step in flight.bare() if _is_frame(step)]
    if not steps:
        book.left_out.append(f"{name}: no step has a reading and a command")
        return
    times = np.array([step.time_s for step in steps])
    shown = _nearest(times, book.fps)
    columns = _columns(book, [steps[i] for i in shown])
    book.features |= _features(book, columns)
    length = len(shown)
    columns |= {
        "timestamp": (np.arange(length) / book.fps).astype(np.float32)[:, None],
        "frame_index": np.arange(length)[:, None],
        "episode_index": np.full((length, 1), number),
        "index": book.frames + np.arange(length)[:, None],
        "task_index": np.zeros((length, 1), int),
    }
    book.write_data(columns)
    stats = {key: column_statistics(x) for key, x in columns.items()}
    row: dict[str, Any] = {
        "episode_index": number,
        "tasks": [book.task],
        "length": length,
        "dataset_from_index": book.frames,
        "dataset_to_index": book.frames + length,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        **{f"data/{key}": value for key, value in _place(book.file).items()},
    }
    counts = np.bincount(shown, minlength=len(steps))
    for camera in book.contract.cameras:
        key = f"observation.images.{camera.name}"
        if camera.kind == "depth":
            book.left_out.append(f"{name}: depth of camera {camera.name!r}")
            continue
        place = _place(number)
        path = book.folder / VIDEO_PATH.format(video_key=key, **place)
        shape = (camera.height, camera.width, 3)
        pictures = _pictures(book, flight, camera.name, shape, counts)
        info, sampled = write_video(path, pictures, shape, book.fps, max(1, length // SAMPLED))
        book.features[key] = {
            "dtype": "video",
            "shape": list(shape),
            "names": ["height", "width", "channels"],
            "info": info,
        }
        stats[key] = image_statistics(sampled)
        row |= {f"videos/{key}/{k}": value for k, value in place.items()}
        row |= {
            f"videos/{key}/from_timestamp": 0.0,
            f"videos/{key}/to_timestamp": length / book.fps,
        }
    row |= {f"stats/{key}/{k}": x for key, s in stats.items() for k, x in _listed(s).items()}
    book.episodes.append(row)
    book.stats.append(stats)
    book.frames += length


def _is_frame(step: Step) -> bool:
    """Returns whether a step has what a frame needs."""
    joints = None if step.command is None else step.command.shape
    position = step.reading.signals.get(POSITION) if step.reading else None
    return position is not None and position.shape == joints and position.dtype.kind == "f"


def _nearest(times: np.ndarray, fps: int) -> np.ndarray:
    """Returns the indices (F,) of the steps nearest to 0, 1 / fps, 2 / fps ... after the first."""
    grid = times[0] + np.arange(math.floor((times[-1] - times[0]) * fps + 0.5) + 1) / fps
    after = np.clip(np.searchsorted(times, grid), 1, max(1, len(times) - 1))
    if len(times) == 1:
        return np.zeros(len(grid), int)
    closer = grid - times[after - 1] <= times[after] - grid
    return after - closer


def _columns(book: _Book, steps: Sequence[Step]) -> dict[str, Column]:
    """Returns the recorded columns of an episode's frames."""
    readings = [step.reading for step in steps if step.reading is not None]
    state = np.array([r.signals[POSITION] for r in readings], np.float64)
    action = np.array([step.command for step in steps], np.float64)
    columns = {
        STATE: _in_motor_units(book, state).astype(np.float32),
        ACTION: _in_motor_units(book, action).astype(np.float32),
    }
    for name, first in readings[0].signals.items():
        values = [r.signals.get(name) for r in readings]
        is_whole = all(v is not None and v.shape == first.shape for v in values)
        if name == POSITION or not first.size or first.dtype.kind not in "biuf" or not is_whole:
            continue
        if name in TOLD:  # of the true state, which no robot senses
            continue
        key = f"observation.{name.replace('/', '.')}"
        columns[key] = np.array(values, np.float32).reshape(len(steps), -1)
    columns["time.mono_s"] = np.array([[step.time_s] for step in steps])
    columns["time.wall_s"] = np.array([[step.wall_s] for step in steps])
    return columns


def _in_motor_units(book: _Book, values: np.ndarray) -> np.ndarray:
    """Returns (T, J) joint values as LeRobot records them, if there is a calibration."""
    if not book.calibration:
        return values
    joints = book.contract.action.joints
    names = [x.joint for x in book.calibration]
    if sorted(names) != sorted(joints):
        raise LogError(
            f"the calibration has joints {names}, the logs {list(joints)}; map the names"
        )
    zero, scale = (np.array([getattr(x, k) for x in book.calibration]) for k in ("zero", "scale"))
    return (values[:, [joints.index(name) for name in names]] - zero) / scale


def _features(book: _Book, columns: Mapping[str, Column]) -> dict[str, dict[str, Any]]:
    """Returns what info.json says of the columns, with their units."""
    action = book.contract.action
    joints = [f"{x.motor}.pos" for x in book.calibration] or [f"{j}.pos" for j in action.joints]
    unit = ", ".join(dict.fromkeys(x.unit for x in book.calibration)) or action.unit
    units = {f"observation.{s.name.replace('/', '.')}": s.unit for s in book.contract.signals}
    features = {
        "timestamp": _feature("float32", 1, None, "s"),
        **{key: _feature("int64", 1, None, "1") for key in INDICES},
    }
    for key, values in columns.items():
        size = values.shape[1]
        if key in (STATE, ACTION):
            said, names = unit, joints
        else:
            said = units.get(key, "s" if key.startswith("time.") else "")
            names = [f"{key.rpartition('.')[2]}_{i}" for i in range(size)]
        features[key] = _feature(values.dtype.name, size, names, said)
    return features


def _feature(dtype: str, size: int, names: list[str] | None, unit: str) -> dict[str, Any]:
    """Returns one entry of info.json's features; LeRobot passes by the unit."""
    return {"dtype": dtype, "shape": [size], "names": names, "unit": unit}


def _pictures(
    book: _Book, flight: Flight, camera: str, shape: tuple[int, ...], counts: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields the picture of each frame; the last one stands in for one that was dropped."""
    last, lost = np.zeros(shape, np.uint8), 0
    frames = (step for step in flight.steps if _is_frame(step))
    for step, count in zip(frames, counts.tolist(), strict=True):
        image = step.reading.images.get(camera) if step.reading else None
        if image is not None and image.shape == shape and image.dtype == np.uint8:
            last = image
        else:
            lost += count
        for _ in range(count):
            yield last
    if lost:
        book.left_out.append(f"camera {camera!r}: {lost} frames show the picture before, or black")


def _listed(stats: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    """Returns statistics as JSON values."""
    return {name: x.tolist() for name, x in stats.items()}


def _place(number: int) -> dict[str, int]:
    """Returns folder and file of the data or video with this number."""
    return {"chunk_index": number // CHUNK, "file_index": number % CHUNK}


def _arrow(pa: Any, values: Column) -> Any:
    """Returns a column (T, n) for a parquet file: plain values, or lists of n."""
    flat = pa.array(np.ravel(values))
    return (
        flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    )


def _tasks(pa: Any, tasks: Sequence[str]) -> Any:
    """Returns the table of tasks as pandas writes a frame whose index are the tasks."""
    index = "__index_level_0__"
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), index: list(tasks)})
    columns = [
        {
            "name": name,
            "field_name": field,
            "pandas_type": kind,
            "numpy_type": numpy,
            "metadata": None,
        }
        for name, field, kind, numpy in (
            ("task_index", "task_index", "int64", "int64"),
            (None, index, "unicode", "object"),
        )
    ]
    pandas = {"index_columns": [index], "column_indexes": [], "columns": columns}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
