"""What a recording must be before a policy learns from it; every refusal names file and row."""

from collections.abc import Mapping, Sequence

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.units import suspect_motion, suspect_reading
from mjx_s2r.transfer.recording import RecordingError

RATE_SLACK = 0.1  # share of a period by which a row may come early or late
CONSTANT = 1e-4  # of full output; what changes less is no action
BINS = 24  # of hues
GREY = 0.08  # of full scale; less colourful pixels do not tell the order of their colours
SWAPPED = 0.15  # share of the hues by which the other order must fit better
LEAST_COLOURFUL = 0.002  # share of pixels


def check_frame_rows(file: str, columns: Mapping[str, np.ndarray], fps: float) -> None:
    """Checks the numbering and the clock of a table's rows.

    Args:
        file: its name.
        columns: "episode_index", "frame_index" and "timestamp", (T,) each.
        fps: rows per second that the recording claims.

    Raises:
        RecordingError: a column that is missing or has no value, rows out of order, left out, or at
            another rate.
    """
    for name in ("episode_index", "frame_index", "timestamp"):
        if name not in columns:
            raise RecordingError(f"{file} has no column {name!r}; it is no table of frames")
        missing = ~np.isfinite(columns[name].astype(float))
        if missing.any():
            raise RecordingError(f"{file} row {_first(missing)}: {name!r} has no value")
    episode, frame = (columns[name].astype(int) for name in ("episode_index", "frame_index"))
    time_s = columns["timestamp"].astype(float)
    same = np.diff(episode) == 0
    back = np.diff(episode) < 0
    if back.any():
        row = _first(back) + 1
        raise RecordingError(
            f"{file} row {row}: episode {episode[row]} after episode {episode[row - 1]}; the rows "
            "are not in order"
        )
    wrong = (same & (np.diff(frame) != 1)) | (~same & (frame[1:] != 0))
    if wrong.any():
        row = _first(wrong) + 1
        raise RecordingError(
            f"{file} row {row}: frame {frame[row]} of episode {episode[row]} follows frame "
            f"{frame[row - 1]}; rows are missing or not in order"
        )
    step = np.diff(time_s) * fps
    late = same & (np.abs(step - 1) > RATE_SLACK)
    if late.any():
        row = _first(late) + 1
        raise RecordingError(
            f"{file} row {row}: {step[row - 1] / fps:.4f} s after the row before, and the "
            f"recording claims {fps:g} rows per second; its columns have mixed rates"
        )


def check_no_missing(file: str, name: str, values: np.ndarray, first_row: int = 0) -> None:
    """Raises RecordingError, with file and row, for a value of a column that is not finite.

    Args:
        file: its name.
        name: of the column.
        values: (T,) or (T, n).
        first_row: number of the first of these rows in the file.
    """
    missing = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if missing.any():
        row = _first(missing)
        raise RecordingError(
            f"{file} row {first_row + row}: column {name!r} holds {values[row]}; take the row's "
            "episode out, or record it again"
        )


def check_same_joints(file: str, recorded: Sequence[str], joints: Sequence[str]) -> None:
    """Raises RecordingError where a recording lacks joints that the policy commands."""
    lost = [name for name in joints if name not in recorded]
    if lost:
        raise RecordingError(
            f"{file} is another robot's recording, or names its joints otherwise: it has "
            f"{list(recorded)}, and the policy commands {list(joints)}; {lost[0]!r} is missing. "
            "Give a calibration file whose tables say which motor is which joint"
        )


def check_joint_units(
    file: str, contract: PolicyContract, positions: np.ndarray, targets: np.ndarray
) -> None:
    """Raises RecordingError where joint values are in degrees or in a motor's own units.

    Args:
        file: and episode, for the message.
        contract: of the policy; its limits are in rad or m.
        positions: (T, J) readings.
        targets: (T, J) goal positions; efforts are not compared with positions.
    """
    if not len(positions):
        return
    action = contract.action
    limits = (action.low, action.high), action.unit
    if action.mode == "effort":
        targets = targets[:0]
        limits = next(
            (
                ((s.seen_low, s.seen_high), s.unit)
                for s in contract.signals
                if s.name == "joint_pos"
            ),
            limits,
        )
    remedy = "degrees, or a motor's own units; give a calibration or a mapping file that says so"
    for name, values in (("observation", positions), ("action", targets)):
        if not len(values):
            continue
        row = int(np.abs(values).max(1).argmax())
        if suspect_reading(contract, {"joint_pos": values[row]}):
            low, high = (np.round(x, 2).tolist() for x in limits[0])
            raise RecordingError(
                f"{file} row {row}: the {name} {np.round(values[row], 1).tolist()} lies far beyond "
                f"the joints' limits, {low} to {high} {limits[1]}; these look like " + remedy
            )
    if len(targets) and (found := suspect_motion(contract.action.joints, targets, positions)):
        raise RecordingError(f"{file}: {found[0].partition(';')[0]}; one of them is in {remedy}")


def check_actions_vary(file: str, joints: Sequence[str], actions: np.ndarray) -> list[str]:
    """Returns the joints whose action (N, J) never changes, one sentence each.

    Raises:
        RecordingError: none of them changes.
    """
    still = np.ptp(actions, axis=0) < CONSTANT
    if still.all():
        raise RecordingError(
            f"{file}: the actions of all {len(joints)} joints are the same in all {len(actions)} "
            f"rows ({np.round(actions[0], 3).tolist()}); nothing was demonstrated, or the wrong "
            "column was read"
        )
    pairs = zip(joints, still, strict=True)
    return [
        f"{file}: the action of joint {name!r} never changes"
        for name, is_still in pairs
        if is_still
    ]


def hue_histogram(pictures: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the histogram (BINS,) of hues, weighted by chroma, and the share of colourful pixels.

    Hue and chroma are angle and length in the plane of alpha = R - (G + B) / 2 and
    beta = sqrt(3) / 2 (G - B) (Hanbury and Serra 2003), so brightness does not change them much.
    The histogram is smoothed over five bins.

    Args:
        pictures: (N, H, W, 3) uint8.
    """
    red, green, blue = (pictures[..., c].reshape(-1).astype(np.float32) / 255 for c in range(3))
    alpha, beta = red - (green + blue) / 2, np.sqrt(3) / 2 * (green - blue)
    chroma = np.hypot(alpha, beta)
    chroma = np.where(chroma > GREY, chroma, 0)
    bins = (np.arctan2(beta, alpha) / (2 * np.pi) * BINS).round().astype(int) % BINS
    counts = np.bincount(bins, chroma, BINS)
    kernel = zip((1, 2, 3, 2, 1), range(-2, 3), strict=True)
    smooth = np.sum([w * np.roll(counts, k) for w, k in kernel], axis=0)
    return smooth / max(float(smooth.sum()), 1e-9), float((chroma > 0).mean())


def check_colour_order(source: str, camera: str, real: np.ndarray, trained: np.ndarray) -> None:
    """Refuses pictures whose red and blue are exchanged, by the colours of the policy's training.

    Args:
        source: of the real pictures, for the message.
        camera: its name.
        real: (N, H, W, 3) uint8.
        trained: (M, H, W, 3) uint8 pictures of the training.

    Raises:
        RecordingError: the real colours are nearer to those of training with red and blue
            exchanged: the common area of both histograms of hues grows by more than `SWAPPED`.
    """
    (ours, colourful), (theirs, known) = map(hue_histogram, (real, trained))
    if min(colourful, known) < LEAST_COLOURFUL:
        return
    exchanged = hue_histogram(real[..., ::-1])[0]
    same, swapped = (float(np.minimum(x, theirs).sum()) for x in (ours, exchanged))
    if swapped > same + SWAPPED:
        raise RecordingError(
            f"{source}: pictures of camera {camera!r} have red and blue exchanged (BGR): "
            f"{100 * swapped:.0f} % of their colours are those of training when they are swapped, "
            f"{100 * same:.0f} % as they are; say so in [cameras] of a mapping file "
            f'({camera} = {{key = "KEY", order = "BGR"}}), or convert the recording'
        )


def _first(mask: np.ndarray) -> int:
    """Returns the first place that is True."""
    return int(np.flatnonzero(mask)[0])
