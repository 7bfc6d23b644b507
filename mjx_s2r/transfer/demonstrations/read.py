"""One set of demonstrations from flight logs and LeRobot datasets, mixed as they come."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.camera_warp import read_calibrations, warps_of
from mjx_s2r.robot.log.writer import log_parts, part_path
from mjx_s2r.transfer.demonstrations.dataset import (
    INDEX,
    Demonstrations,
    DemonstrationWriter,
    open_demonstrations,
)
from mjx_s2r.transfer.demonstrations.flight_frames import (
    FlightLabels,
    PictureFit,
    PictureReader,
    flight_frames,
)
from mjx_s2r.transfer.demonstrations.frame_checks import check_actions_vary
from mjx_s2r.transfer.demonstrations.lerobot_frames import lerobot_frames
from mjx_s2r.transfer.mapping import read_mapping
from mjx_s2r.transfer.readers.array_tables import is_lerobot
from mjx_s2r.transfer.recording import RecordingError


@dataclass(frozen=True)
class DemonstrationFiles:
    """Recordings, and how they are read.

    Attributes:
        paths: flight logs, LeRobot dataset folders.
        mapping: file that says which column and video is what.
        calibration: file that makes motors' values joint angles.
        cameras: files of `train calibrate` whose cameras' pictures are turned into those of the
            model's; () takes those that a flight log was flown with.
        labels: what flight logs teach: what was sent, or what the policy proposed.
        fit: what becomes of pictures of another size.
        labelled: whether actions are read; without, pictures and readings alone.
    """

    paths: tuple[Path, ...]
    mapping: Path | None = None
    calibration: Path | None = None
    cameras: tuple[Path, ...] = ()
    labels: FlightLabels = "sent"
    fit: PictureFit = "refuse"
    labelled: bool = True

    def key(self, contract: PolicyContract) -> str:
        """Returns a digest of settings and of the files' names, sizes and times of change."""
        files = [f for path in self.paths for f in _files_of(path)]
        more = (self.mapping, self.calibration, *self.cameras)
        files += [f for f in more if f is not None and f.exists()]
        stats = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        seen = [(c.name, c.height, c.width, c.kind) for c in contract.cameras]
        told = [self.labels, self.fit, self.labelled, contract.control_hz, seen, stats]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def read_demonstrations(
    files: DemonstrationFiles, contract: PolicyContract, folder: Path
) -> Demonstrations:
    """Reads recordings into a folder, or opens the folder where they have been read before.

    Args:
        files: what to read.
        contract: of the policy that is to learn.
        folder: of the arrays.

    Raises:
        RecordingError: a recording that cannot be used, named with file and row; recordings that
            have changed since the folder was made.
    """
    if not files.paths:
        raise RecordingError("there is no recording; name flight logs or LeRobot dataset folders")
    for path in files.paths:
        if not path.exists():
            raise RecordingError(f"{path} does not exist; name a flight log or a LeRobot dataset")
    key = files.key(contract)
    if not (folder / INDEX).exists():
        _read(files, contract, folder, key)
    found = open_demonstrations(folder, contract, key)
    if found.actions is not None:
        check_actions_vary(found.source, contract.action.joints, found.actions)
    return found


def _read(files: DemonstrationFiles, contract: PolicyContract, folder: Path, key: str) -> None:
    """Reads recordings into a folder."""
    mapping = read_mapping(files.mapping) if files.mapping is not None else None
    try:
        warps = warps_of(read_calibrations(files.cameras, contract), contract)
    except ContractError as error:
        raise RecordingError(str(error)) from error
    with DemonstrationWriter(folder, contract, files.labelled, key) as writer:
        for path in files.paths:
            if path.is_dir() and not is_lerobot(path):
                raise RecordingError(f"{path} is a folder and no LeRobot dataset; name the files")
            if path.is_dir():
                reads = PictureReader(files.fit, warps)
                calibration = files.calibration
                lerobot_frames(writer, path, mapping=mapping, calibration=calibration, reads=reads)
            else:
                flight_frames(writer, path, labels=files.labels, fit=files.fit, warps=warps or None)
        writer.finish(", ".join(path.name for path in files.paths))


def _files_of(path: Path) -> Sequence[Path]:
    """Returns the files of a flight log or of a dataset."""
    if path.is_dir():
        return sorted(f for f in path.rglob("*") if f.is_file())
    return [part_path(path, number) for number in log_parts(path)]
