"""Demonstrations as arrays on the disk: rows at the control rate, episode after episode.

A folder holds two raw arrays per camera (pictures, and the row whose picture the policy sees),
`readings.f32`, perhaps `actions.f32`, and `demonstrations.json`, which says what they are. They are
memory-mapped, so a set may be larger than memory. A folder is written beside its place and moved
there when it is whole.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.transfer.recording import RecordingError

INDEX = "demonstrations.json"
LAYOUT = 2  # of the folder


@dataclass(frozen=True)
class DemonstratedEpisode:
    """One episode of a set.

    Attributes:
        name: file, and which part of it.
        rows: number of rows.
        clipped: share of its action values that lay outside of [-1, 1].
    """

    name: str
    rows: int
    clipped: float = 0.0


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """N rows at the control rate, in E episodes.

    Attributes:
        cameras: of the contract, in its order.
        images: per camera (N, H, W, C) one picture a row, uint8 or, of depth, uint16 codes.
        shown: per camera (N,) int32 the row whose picture is the newest that the policy has; an
            earlier one of the same episode where the camera is slower than the policy.
        readings: (N, P) float32 as `mjx_s2r.contract.assemble` makes them.
        actions: (N, J) float32 in [-1, 1]; None of pictures without labels.
        episodes: (E,) in order.
        period_s: time from row to row, s.
        source: what was read, for messages.
        notes: what is worth a word about it.
    """

    cameras: tuple[CameraSignal, ...]
    images: tuple[np.ndarray, ...]
    shown: tuple[np.ndarray, ...]
    readings: np.ndarray
    actions: np.ndarray | None
    episodes: tuple[DemonstratedEpisode, ...]
    period_s: float
    source: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of rows, N."""
        return len(self.readings)

    @property
    def starts(self) -> np.ndarray:
        """(E + 1,) the first row of each episode, and N."""
        return np.concatenate(([0], np.cumsum([e.rows for e in self.episodes]))).astype(int)

    @property
    def episode_of(self) -> np.ndarray:
        """(N,) number of the episode of each row."""
        return np.repeat(np.arange(len(self.episodes)), [e.rows for e in self.episodes])

    @property
    def clipped(self) -> float:
        """Share of all action values that lay outside of [-1, 1]."""
        rows = np.array([e.rows for e in self.episodes], float)
        return float(rows @ [e.clipped for e in self.episodes] / max(rows.sum(), 1.0))

    def pictures(self, camera: int, rows: np.ndarray) -> np.ndarray:
        """Returns (*rows, H, W, C F) what the policy sees in some rows, the newest picture first.

        A camera that is slower than the policy shows a picture until the next one; before the first
        picture of an episode, that one stands in, as on the robot.

        Args:
            camera: its number.
            rows: (...) row numbers.
        """
        starts, shown = self.starts, self.shown[camera]
        first = starts[np.searchsorted(starts, rows, side="right") - 1]
        stack = [shown[rows]]
        for _ in range(self.cameras[camera].frames - 1):
            stack.append(shown[np.maximum(stack[-1] - 1, first)])
        return np.concatenate([self.images[camera][x] for x in stack], axis=-1)


@dataclass
class DemonstrationWriter:
    """A folder of demonstrations that is being written, episode by episode, in bounded memory.

    Attributes:
        folder: that does not exist yet.
        contract: of the policy; its cameras and the size of its readings.
        labelled: whether the episodes have actions.
        key: what the content depends on; whoever opens the folder can compare it.
    """

    folder: Path
    contract: PolicyContract
    labelled: bool = True
    key: str = ""
    notes: list[str] = field(default_factory=list)
    _episodes: list[DemonstratedEpisode] = field(default_factory=list)
    _files: dict[str, BinaryIO] = field(default_factory=dict)

    def __enter__(self) -> "DemonstrationWriter":
        """Opens the arrays.

        Raises:
            RecordingError: the folder exists, or cannot be written.
        """
        if self.folder.exists():
            raise RecordingError(f"{self.folder} exists; name a new folder")
        try:
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft.mkdir(parents=True)
            cameras = self.contract.cameras
            names = [name for c in cameras for name in (_picture_file(c), _shown_file(c))]
            names += ["readings.f32"]
            names += ["actions.f32"] if self.labelled else []
            self._files = {name: (self._draft / name).open("wb") for name in names}
        except OSError as error:
            raise RecordingError(f"{self.folder} cannot be written: {error.strerror}") from error
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Moves the folder to its place, or removes it after an error."""
        for file in self._files.values():
            file.close()
        if kind is None:
            self._draft.replace(self.folder)
        else:
            shutil.rmtree(self._draft, ignore_errors=True)

    @property
    def _draft(self) -> Path:
        return self.folder.with_name(self.folder.name + ".unfinished")

    def append(
        self,
        name: str,
        readings: np.ndarray,
        actions: np.ndarray | None,
        pictures: Sequence[Iterable[tuple[np.ndarray, bool]]],
        clipped: float = 0.0,
    ) -> None:
        """Writes one episode.

        Args:
            name: of it, for messages.
            readings: (T, P).
            actions: (T, J), where the set is labelled.
            pictures: per camera T arrays (H, W, C), and whether each is new to the policy; else it
                has the last one that was.
            clipped: share of action values that were outside of [-1, 1].

        Raises:
            RecordingError: values that are not finite, another number of pictures than rows, or a
                picture of another size; with episode and row.
        """
        self._put("readings.f32", _finite(name, "readings", readings))
        if self.labelled:
            if actions is None:
                raise RecordingError(f"{name} has no actions; read it as unlabelled pictures")
            self._put("actions.f32", _finite(name, "actions", actions))
        for camera, images in zip(self.contract.cameras, pictures, strict=True):
            count, newest, begins = 0, 0, sum(e.rows for e in self._episodes)
            shape = (camera.height, camera.width, camera.channels)
            kind = np.uint16 if camera.kind == "depth" else np.uint8
            for count, (image, new) in enumerate(images, 1):
                newest = count - 1 if new else newest
                self._files[_shown_file(camera)].write(np.int32(begins + newest).tobytes())
                if image.shape != shape or image.dtype != kind:
                    raise RecordingError(
                        f"{name}: picture of row {count - 1} of camera {camera.name!r} is "
                        f"{_described(image)}, the policy reads {_shape(shape)} {kind.__name__}"
                    )
                self._files[_picture_file(camera)].write(np.ascontiguousarray(image).data)
            if count != len(readings):
                raise RecordingError(
                    f"{name}: camera {camera.name!r} has {count} pictures for {len(readings)} rows"
                )
        self._episodes.append(DemonstratedEpisode(name, len(readings), clipped))

    def finish(self, source: str) -> None:
        """Writes what the arrays are.

        Raises:
            RecordingError: no episode was written.
        """
        if not self._episodes:
            notes = f" ({'; '.join(self.notes)})" if self.notes else ""
            raise RecordingError(f"{source}: no episode that can be learned from{notes}")
        body = {
            "layout": LAYOUT,
            "key": self.key,
            "source": source,
            "period_s": 1 / self.contract.control_hz,
            "readings": self.contract.size,
            "actions": len(self.contract.action.joints) if self.labelled else 0,
            "cameras": [_picture_file(c) for c in self.contract.cameras],
            "episodes": [asdict(e) for e in self._episodes],
            "notes": self.notes,
        }
        (self._draft / INDEX).write_text(json.dumps(body, indent=1))

    def _put(self, name: str, values: np.ndarray) -> None:
        self._files[name].write(np.ascontiguousarray(values, np.float32).data)


def open_demonstrations(folder: Path, contract: PolicyContract, key: str = "") -> Demonstrations:
    """Opens a folder of demonstrations for a policy's contract.

    Args:
        folder: written by `DemonstrationWriter`.
        contract: of the policy.
        key: what the content must have been made of; "" takes any.

    Raises:
        RecordingError: no such folder, other sizes or cameras than the contract's, an array that is
            not whole, or another key.
    """
    try:
        body: dict[str, Any] = json.loads((folder / INDEX).read_text())
        episodes = tuple(DemonstratedEpisode(**e) for e in body["episodes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{folder} holds no demonstrations: {INDEX}: {error}") from error
    if body.get("layout") != LAYOUT:
        raise RecordingError(f"{folder} has layout {body.get('layout')}, not {LAYOUT}; read anew")
    if key and body["key"] != key:
        raise RecordingError(
            f"the recordings in {folder} have changed since it was made ({body['source']}); start "
            "another run, or put them back"
        )
    rows = sum(e.rows for e in episodes)
    cameras = [_picture_file(c) for c in contract.cameras]
    if body["cameras"] != cameras or body["readings"] != contract.size:
        raise RecordingError(
            f"{folder} was made for cameras {body['cameras']} and {body['readings']} readings, the "
            f"policy has {cameras} and {contract.size}; read the recordings anew"
        )
    images = tuple(
        _mapped(
            folder / _picture_file(c),
            (rows, c.height, c.width, c.channels),
            "uint16" if c.kind == "depth" else "uint8",
        )
        for c in contract.cameras
    )
    shown = tuple(_mapped(folder / _shown_file(c), (rows,), "int32") for c in contract.cameras)
    joints = body["actions"]
    return Demonstrations(
        cameras=contract.cameras,
        images=images,
        shown=shown,
        readings=_mapped(folder / "readings.f32", (rows, contract.size), "float32"),
        actions=_mapped(folder / "actions.f32", (rows, joints), "float32") if joints else None,
        episodes=episodes,
        period_s=body["period_s"],
        source=body["source"],
        notes=tuple(body["notes"]),
    )


@dataclass(frozen=True, eq=False)
class EpisodeSplit:
    """Which rows are learned from and which are kept for judging.

    Attributes:
        learned: (N',) row numbers, whole episodes.
        held_out: (N'',) row numbers of other episodes.
        learned_episodes: their numbers, in the order in which a larger count would go on.
        held_out_episodes: their numbers.
    """

    learned: np.ndarray
    held_out: np.ndarray
    learned_episodes: tuple[int, ...]
    held_out_episodes: tuple[int, ...]


def split_episodes(
    demonstrations: Demonstrations, held_out: float, count: int = 0, *, seed: int = 0
) -> EpisodeSplit:
    """Splits a set by whole episodes, at random; the same seed keeps the same ones out.

    The episodes of a smaller count are among those of a larger one.

    Args:
        demonstrations: the set.
        held_out: share of the episodes that is kept for judging, at least one; 0 keeps none.
        count: episodes to learn from; 0 takes all others.
        seed: of the order.

    Raises:
        RecordingError: fewer episodes than are asked for.
    """
    total = len(demonstrations.episodes)
    kept = max(1, round(held_out * total)) if held_out > 0 else 0
    if total - kept < max(count, 1):
        raise RecordingError(
            f"{demonstrations.source} has {total} episodes, {kept} of them held out; that leaves "
            f"{total - kept}, and {max(count, 1)} are to be learned from: record more, or lower "
            "count or held_out"
        )
    order = np.random.default_rng(seed).permutation(total)
    judged, rest = order[:kept], order[kept:]
    chosen = rest[: count or len(rest)]
    episode = demonstrations.episode_of
    return EpisodeSplit(
        learned=np.flatnonzero(np.isin(episode, chosen)),
        held_out=np.flatnonzero(np.isin(episode, judged)),
        learned_episodes=tuple(chosen.tolist()),
        held_out_episodes=tuple(judged.tolist()),
    )


def _picture_file(camera: CameraSignal) -> str:
    """Returns the name of a camera's array, which tells its size."""
    kind = "u16" if camera.kind == "depth" else "u8"
    return f"{camera.name}.{camera.height}x{camera.width}.{kind}"


def _shown_file(camera: CameraSignal) -> str:
    """Returns the name of the array that says which row's picture a row shows."""
    return f"{camera.name}.shown.i32"


def _mapped(path: Path, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Returns a raw array of a file, read when it is used."""
    wanted = int(np.prod(shape)) * np.dtype(kind).itemsize
    size = path.stat().st_size if path.is_file() else -1
    if size != wanted:
        raise RecordingError(
            f"{path} has {size} bytes and must have {wanted}; delete its folder and read anew"
        )
    return np.memmap(path, kind, "r", shape=shape)


def _finite(name: str, what: str, values: np.ndarray) -> np.ndarray:
    """Returns values (T, n), none of which is missing."""
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise RecordingError(f"{name}: {what} of row {row}, value {column}, is no finite number")
    return values


def _described(image: np.ndarray) -> str:
    return f"{_shape(image.shape)} {image.dtype.name}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
