"""One set of demonstrations from flight logs and LeRobot datasets, mixed as they come."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        mapping: file that says which column and video of a LeRobot dataset is what.
        calibration: file that makes a LeRobot dataset's motor values joint angles; beside a
            mapping, which names its own, there is none.
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

    def part(self, paths: tuple[Path, ...], *, labelled: bool) -> "DemonstrationFiles":
        """Returns some of the recordings, without what is of LeRobot datasets if none is one."""
        found = replace(self, paths=paths, labelled=labelled)
        return found if found.has_datasets else replace(found, mapping=None, calibration=None)

    @property
    def has_datasets(self) -> bool:
        """Whether a folder is among them."""
        return any(path.is_dir() for path in self.paths)

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
            have changed since the folder was made; a mapping or a calibration that nothing reads.
    """
    if not files.paths:
        raise RecordingError("there is no recording; name flight logs or LeRobot dataset folders")
    for path in files.paths:
        if not path.exists():
            raise RecordingError(f"{path} does not exist; name a flight log or a LeRobot dataset")
    check_all_is_read(files)
    key = files.key(contract)
    if not (folder / INDEX).exists():
        _read(files, contract, folder, key)
    found = open_demonstrations(folder, contract, key)
    if found.actions is not None:
        check_actions_vary(found.source, contract.action.joints, found.actions)
    return found


def check_all_is_read(files: DemonstrationFiles) -> None:
    """Raises RecordingError for a mapping or a calibration that would change nothing."""
    mapping, calibration = files.mapping, files.calibration
    if mapping is not None and calibration is not None:
        raise RecordingError(
            f"calibration {calibration} is not read beside mapping {mapping}, which says what "
            f'every column is; write calibration = "{calibration.name}" at the top of '
            f'{mapping.name}, unit = "calibrated" in its columns, and give the mapping alone'
        )
    given = {"mapping": mapping, "calibration": calibration}
    for name, file in given.items():
        if file is not None and all(path.is_file() for path in files.paths):
            raise RecordingError(
                f"{name} {file} is of LeRobot datasets, and {', '.join(map(str, files.paths))} are "
                f"flight logs, which say themselves what their values are; leave out the {name}"
            )


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
