"""The page about a calibrated camera: rows with intervals, and pictures before and after."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mjx_s2r.report.media import evenly_spaced, png_url
from mjx_s2r.report.page import duration, write_page
from mjx_s2r.transfer.camera.calibrate import CalibratedCamera
from mjx_s2r.transfer.posterior import Posterior

MOST_SHOWN = 6  # pictures on the page
MOST_LINES = 12  # of the trace


@dataclass(frozen=True)
class _Shot:
    """One picture and what is beside it: (caption, data URL) each."""

    name: str
    tiles: tuple[tuple[str, str], ...]


def write_camera_report(path: Path, found: CalibratedCamera) -> None:
    """Writes the page of a calibrated camera."""
    posterior, calibration = found.posterior, found.calibration
    shown = evenly_spaced(len(found.pictures), MOST_SHOWN)
    lines = found.trace[evenly_spaced(len(found.trace), MOST_LINES)] if len(found.trace) else ()
    write_page(
        path,
        "camera_calibration.html.j2",
        title=f"Camera {calibration.camera} of {posterior.task}",
        camera=calibration.camera,
        source=Path(found.pictures.source).name,
        stats=_stats(found),
        rows=row_lines(posterior),
        groups="; ".join(" and ".join(group) for group in posterior.groups),
        pictures=[_shot(found, int(i)) for i in shown],
        trace=[(f"{int(drawn)}", f"{cost:.4g}") for drawn, cost in lines],
        warnings=(*found.warnings, *posterior.notes),
    )


def row_lines(posterior: Posterior) -> list[tuple[str, str, str, str, str, str]]:
    """Returns a table's lines: row, best value, ends of the interval, unit, what to know."""
    lines = []
    for row, best, (low, high) in zip(
        posterior.space.rows, posterior.best, posterior.interval, strict=True
    ):
        words = ["not seen"] if row.name in posterior.unseen else []
        words += ["at its limit"] if row.name in posterior.at_bound else []
        lines.append(
            (row.name, f"{best:.4g}", f"{low:.4g}", f"{high:.4g}", row.unit, ", ".join(words))
        )
    return lines


def _stats(found: CalibratedCamera) -> list[tuple[str, str, str]]:
    """Returns the title, value and note of the numbers at the top."""
    calibration = found.calibration
    offset_mm = 1e3 * float(np.linalg.norm(calibration.offset_m))
    turn = float(np.rad2deg(np.linalg.norm(calibration.turn_rad)))
    fov = calibration.measured.fov_deg - calibration.nominal.fov_deg
    return [
        ("place", f"{offset_mm:.1f} mm", "from where the model has it"),
        ("turn", f"{turn:.2f}°", "from the model's"),
        ("field of view", f"{fov:+.2f}°", f"from the model's {calibration.nominal.fov_deg:.2f}°"),
        (
            "pictures lie beside",
            f"{np.median(found.after_px):.2f} px",
            f"median; {np.median(found.before_px):.2f} px of the model's camera",
        ),
        ("explained", f"{found.explained:.0%}", "of how pixels differ from the mean colour"),
        ("took", duration(found.seconds), f"{len(found.pictures)} pictures"),
    ]


def _shot(found: CalibratedCamera, index: int) -> _Shot:
    """Returns one picture's tiles."""
    measured = found.pictures.images[index]
    tiles = [("measured", measured)]
    for what, drawn, px in (
        ("model's camera", found.before, found.before_px),
        ("calibrated", found.after, found.after_px),
    ):
        off = f", {px[index]:.2f} px beside"
        tiles += [
            (what, drawn[index]),
            (f"{what}: difference{off}", _difference(measured, drawn[index])),
        ]
    if found.drawn is not None:
        tiles.append(("with all rows, shadows and lights", found.drawn[index]))
    return _Shot(
        found.pictures.names[index], tuple((what, png_url(picture)) for what, picture in tiles)
    )


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns (H, W, 3) uint8 the difference about mid grey."""
    return np.clip(128 + one.astype(int) - other.astype(int), 0, 255).astype(np.uint8)
