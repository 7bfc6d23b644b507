"""The page about a prepared model: pictures of original and prepared side by side, and tables."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from mjx_s2r.mjcf.collision import DRAWN
from mjx_s2r.mjcf.prepare import MODEL, Prepared
from mjx_s2r.mjcf.surroundings import AZIMUTH, ELEVATION, FOVY, Framing, frame
from mjx_s2r.report.media import png_url
from mjx_s2r.report.page import write_page

SIZE = (360, 480)  # px, of the whole robot
LINK_SIZE = (270, 360)  # px, of one link
PALETTE = np.array(
    [
        [0.12, 0.47, 0.71],
        [1.0, 0.5, 0.05],
        [0.17, 0.63, 0.17],
        [0.84, 0.15, 0.16],
        [0.58, 0.4, 0.74],
        [0.55, 0.34, 0.29],
        [0.89, 0.47, 0.76],
        [0.09, 0.75, 0.81],
    ]
)


@dataclass(frozen=True)
class SideBySide:
    """Two pictures of one thing, as data URLs."""

    title: str
    original: str
    prepared: str
    note: str = ""


def write_prepare_report(done: Prepared) -> Path:
    """Writes report.html beside a prepared model; returns its path."""
    path = done.path.with_name("report.html")
    shots = _pictures(done)
    link_rows = [
        (
            link.body,
            f"{link.meshes}",
            ", ".join(one.kind for one in link.primitives),
            f"{link.error.out_mm:.1f}",
            f"{link.error.short_mm:.1f}",
            f"{link.accepted_mm:.1f}",
            f"{link.error.volume_ratio:.2f}",
            f"{100 * link.error.overlap:.0f} %",
            f"{link.dent_mm:.1f}",
        )
        for link in done.links
    ]
    write_page(
        path,
        "prepare.html.j2",
        title=f"{done.original.path.name}, prepared",
        original=done.original.path.name,
        stats=_stats(done),
        robot=shots[:2],
        shots=shots[2:],
        links=link_rows,
        meshes=[
            (
                mesh.name,
                f"{mesh.faces:,}",
                f"{mesh.faces_left:,}",
                f"{mesh.error_mm:.2f}",
                "kept" if mesh.textured else "",
            )
            for mesh in done.meshes
        ],
        pairs=[
            (
                " - ".join(pair.bodies),
                pair.reason,
                f"{100 * pair.touching:.1f} %",
                _millimetres(pair.rest_mm),
                _millimetres(pair.nearest_mm),
            )
            for pair in done.pairs
        ],
        servos=[
            (
                one.joint,
                f"{one.kp:g}",
                f"{one.kv:g}",
                f"{one.force:g}" if one.force else "none",
                f"{one.inertia:.3g}",
                f"{one.armature:g}" if one.armature else "as in the file",
                f"{one.damping:g}" if one.damping else "as in the file",
                f"{one.sag:.2g} {one.unit}",
            )
            for one in done.servos
        ],
        changes=[(change.what, change.why) for change in done.changes],
        checks=[
            (
                check.what,
                f"{check.value:.2g}",
                f"{check.limit:.2g} {check.unit}",
                "holds" if check.holds else "differs",
            )
            for check in done.checks
        ],
        model=MODEL,
    )
    return path


def _stats(done: Prepared) -> list[tuple[str, str, str]]:
    """Returns the title, value and note of the numbers at the top."""
    m = done.original.model
    worst = max(done.links, key=lambda one: one.error.out_mm, default=None)
    kept = sum(pair.reason == "kept" for pair in done.pairs)
    return [
        (
            "Collision shapes",
            f"{sum(len(link.primitives) for link in done.links)}",
            f"in place of {sum(link.meshes for link in done.links)} meshes",
        ),
        (
            "Sticks out by at most",
            f"{worst.error.out_mm:.1f} mm" if worst else "-",
            f"at {worst.body}" if worst else "no mesh collided",
        ),
        (
            "Faces to draw",
            f"{sum(mesh.faces_left for mesh in done.meshes):,}",
            f"of {int(m.mesh_facenum.sum()):,}",
        ),
        ("Pairs of bodies", f"{kept}", f"of {len(done.pairs)} are looked at for contacts"),
    ]


def _millimetres(value: float | None) -> str:
    return "far" if value is None else f"{value:.1f}"


def _pictures(done: Prepared) -> list[SideBySide]:
    """Returns the robot as drawn and as it collides, and each link; nothing without OpenGL."""
    before, after = done.original.model, done.model
    old_pose = done.home[len(done.home) - before.nq :]
    if before.nq < after.nq:
        old_pose = np.asarray(old_pose)
    seen = frame(after, done.home)
    old_seen = seen if before.nq == after.nq else frame(before, old_pose)
    try:
        with _Camera(before, old_pose, SIZE) as old, _Camera(after, done.home, SIZE) as new:
            robot = [
                SideBySide("As drawn", old(old_seen, _drawn), new(seen, _drawn)),
                SideBySide(
                    "As it collides",
                    old(old_seen, _solid),
                    new(seen, _solid),
                    "Left the convex hulls that C MuJoCo collides, right the primitives.",
                ),
            ]
        with (
            _Camera(before, old_pose, LINK_SIZE) as old,
            _Camera(after, done.home, LINK_SIZE) as new,
        ):
            return robot + [_link(done, link.body, old, new) for link in done.links]
    except (ImportError, AttributeError, mujoco.FatalError, RuntimeError):
        return []


def _link(done: Prepared, body: str, old: "_Camera", new: "_Camera") -> SideBySide:
    """Returns one link: the meshes that collided, and the primitives over what is drawn."""
    b = done.model.body(body).id
    at = new.frame_of(b)
    shift = old.place_of(b) - new.place_of(b)
    link = next(one for one in done.links if one.body == body)
    return SideBySide(
        body,
        old(Framing(at.centre + shift, at.radius, 0.0), lambda m, g: _meshes_of(m, g, b)),
        new(at, lambda m, g: _overlay(m, g, b)),
        f"sticks out {link.error.out_mm:.1f} mm, falls short {link.error.short_mm:.1f} mm",
    )


Colour = Callable[[mujoco.MjModel, int], np.ndarray | None]  # of a geom (4,); None: as it is


def _drawn(m: mujoco.MjModel, g: int) -> np.ndarray | None:
    return None if m.geom_group[g] <= DRAWN else np.zeros(4)


def _solid(m: mujoco.MjModel, g: int) -> np.ndarray | None:
    if m.geom_type[g] == int(mujoco.mjtGeom.mjGEOM_PLANE):
        return np.zeros(4)
    solid = m.geom_contype[g] or m.geom_conaffinity[g]
    return np.append(_shade(m, g), 1.0) if solid else np.zeros(4)


def _meshes_of(m: mujoco.MjModel, g: int, body: int) -> np.ndarray | None:
    solid = m.geom_contype[g] or m.geom_conaffinity[g]
    return np.append(_shade(m, g), 1.0) if solid and m.geom_bodyid[g] == body else np.zeros(4)


def _overlay(m: mujoco.MjModel, g: int, body: int) -> np.ndarray | None:
    if m.geom_bodyid[g] != body:
        return np.zeros(4)
    solid = m.geom_contype[g] or m.geom_conaffinity[g]
    return np.append(_shade(m, g), 0.55) if solid else np.array([0.25, 0.25, 0.28, 1.0])


def _shade(m: mujoco.MjModel, g: int) -> np.ndarray:
    """Returns the colour (3,) of a geom's link, lighter for every second geom of it."""
    turn = (g - m.body_geomadr[m.geom_bodyid[g]]) % 3
    plain = PALETTE[m.geom_bodyid[g] % len(PALETTE)]
    return np.asarray(plain + (1 - plain) * 0.25 * turn)


class _Camera:
    """MuJoCo's renderer on a copy of a model in one pose, with colours chosen for each picture."""

    def __init__(self, m: mujoco.MjModel, pose: np.ndarray, size: tuple[int, int]) -> None:
        self._plain, self._model = m, copy.copy(m)
        self._model.vis.headlight.ambient[:] = 0.4  # so that a model without lights is seen
        self._model.vis.headlight.diffuse[:] = 0.5
        self._data = mujoco.MjData(self._model)
        self._data.qpos[:] = pose
        mujoco.mj_forward(self._model, self._data)
        self._renderer = mujoco.Renderer(self._model, *size)

    def __enter__(self) -> "_Camera":
        return self

    def __exit__(self, *error: object) -> None:
        self._renderer.close()

    def __call__(self, seen: Framing, colour: Colour) -> str:
        """Returns the data URL of a picture that frames ``seen``."""
        model, option = self._model, mujoco.MjvOption()
        option.geomgroup[:] = 1
        option.sitegroup[:] = 0
        option.flags[mujoco.mjtVisFlag.mjVIS_CONVEXHULL] = colour is not _drawn
        for g in range(model.ngeom):
            chosen = colour(self._plain, g)
            model.geom_rgba[g] = self._plain.geom_rgba[g] if chosen is None else chosen
            model.geom_matid[g] = self._plain.geom_matid[g] if chosen is None else -1
        camera = mujoco.MjvCamera()
        camera.lookat[:] = seen.centre
        camera.distance = 1.05 * seen.radius / np.sin(np.radians(FOVY / 2))
        camera.azimuth, camera.elevation = np.degrees(AZIMUTH) + 180, -np.degrees(ELEVATION)
        self._renderer.update_scene(self._data, camera, option)
        return png_url(self._renderer.render())

    def place_of(self, body: int) -> np.ndarray:
        """Returns where a body is (3,) [m]."""
        return np.asarray(self._data.xpos[body]).copy()

    def frame_of(self, body: int) -> Framing:
        """Returns the ball about a body's geoms."""
        geoms = np.flatnonzero(self._plain.geom_bodyid == body)
        centre = self._data.geom_xpos[geoms].mean(axis=0)
        away = np.linalg.norm(self._data.geom_xpos[geoms] - centre, axis=1)
        return Framing(centre, float((away + self._plain.geom_rbound[geoms]).max()), 0.0)
