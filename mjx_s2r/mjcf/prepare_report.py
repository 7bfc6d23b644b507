"""The page about a prepared model: pictures of original and prepared side by side, and tables."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from markupsafe import Markup

from mjx_s2r.mjcf.collision import DRAWN, LinkFit
from mjx_s2r.mjcf.finding import listed
from mjx_s2r.mjcf.naming import free
from mjx_s2r.mjcf.prepare import MODEL, Prepared
from mjx_s2r.mjcf.surroundings import AZIMUTH, ELEVATION, FOVY, Framing, frame
from mjx_s2r.report.media import png_url
from mjx_s2r.report.page import write_page

SIZE = (540, 720)  # px, of the whole robot
LINK_SIZE = (405, 540)  # px, of one link
SKY = (0.93, 0.94, 0.95)  # behind everything, so that light and dark parts are both seen
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
    """Two pictures of one thing.

    Attributes:
        title: what they show.
        original: picture of the original, as a data URL.
        prepared: picture of the prepared model, as a data URL.
        captions: what is seen on either.
        note: a sentence about both.
        missed: whether the note tells that an aim was missed.
    """

    title: str
    original: str
    prepared: str
    captions: tuple[str, str]
    note: str = ""
    missed: bool = False


def write_prepare_report(done: Prepared) -> Path:
    """Writes report.html beside a prepared model; returns its path."""
    path = done.path.with_name("report.html")
    shots = _pictures(done)
    write_page(
        path,
        "prepare.html.j2",
        title=f"{done.original.path.name}, prepared",
        original=done.original.path.name,
        stats=_stats(done),
        findings=done.findings,
        robot=shots[:2],
        shots=shots[2:],
        links=[_link_row(link) for link in done.links],
        aims=aims_missed(done),
        meshes=_mesh_table(done),
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
                _marked(f"{check.value:.2g}", not check.holds),
                f"{check.limit:.2g} {check.unit}",
                "holds" if check.holds else _marked("differs", True),
            )
            for check in done.checks
        ],
        model=MODEL,
        folder=done.path.resolve().parent.name,
    )
    return path


def aims_missed(done: Prepared) -> list[str]:
    """Returns a sentence about each aim of the options that was not reached."""
    out = []
    far = [link for link in done.links if link.missed]
    if far:
        worst = max(far, key=lambda link: max(link.error.out_mm, link.error.short_mm))
        off = max(worst.error.out_mm, worst.error.short_mm)
        out.append(
            f"the collision shapes of {len(far)} of {len(done.links)} links are further off than "
            f"{100 * done.options.collision_error:g} % of their size, most of all {worst.body}: "
            f"{off:.1f} mm for {worst.accepted_mm:.1f} mm; --max-parts at the ends of the robot "
            "and --inner-parts elsewhere allow more shapes"
        )
    whole = [mesh for mesh in done.meshes if mesh.whole]
    if whole:
        faces = sum(mesh.faces for mesh in whole)
        out.append(
            f"{listed(mesh.name for mesh in whole)}, {faces:,} faces in all, stayed as they were: "
            f"no mesh of fewer is within {done.options.visual_error_mm:g} mm; raise "
            "--visual-error-mm"
        )
    return out


def _marked(text: str, missed: bool) -> str:
    """Returns the text of a cell, marked where it tells of something missed."""
    return Markup('<span class="failed">{}</span>').format(text) if missed else text


def _link_row(link: LinkFit) -> tuple[str, ...]:
    """Returns the row of a link."""
    error, aim = link.error, link.accepted_mm
    return (
        link.body,
        f"{link.meshes}",
        ", ".join(one.kind for one in link.primitives),
        _marked(f"{error.out_mm:.1f}", error.out_mm > aim),
        _marked(f"{error.short_mm:.1f}", error.short_mm > aim),
        f"{aim:.1f}",
        _marked("missed", True) if link.missed else "reached",
        f"{error.volume_ratio:.2f}",
        f"{100 * error.overlap:.0f} %",
        f"{link.dent_mm:.1f}",
    )


def _mesh_table(done: Prepared) -> dict[str, Any]:
    """Returns rows, head and columns of numbers; no column that says nothing."""
    textured = any(mesh.textured for mesh in done.meshes)
    rows = [
        (
            mesh.name,
            f"{mesh.faces:,}",
            _marked(f"{mesh.faces_left:,}, as it was", True)
            if mesh.whole
            else f"{mesh.faces_left:,}",
            f"{mesh.error_mm:.2f}",
            *((("kept" if mesh.textured else "none"),) if textured else ()),
        )
        for mesh in done.meshes
    ]
    head = ("mesh", "faces", "faces left", "off by, mm", *(("texture",) if textured else ()))
    return {"rows": rows, "head": head, "numbers": (1, 2, 3)}


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
            _of_links(done) if worst else "no mesh collided",
        ),
        (
            "Faces to draw",
            f"{sum(mesh.faces_left for mesh in done.meshes):,}",
            f"of {int(m.mesh_facenum.sum()):,}",
        ),
        ("Pairs of bodies", f"{kept}", f"of {len(done.pairs)} are looked at for contacts"),
    ]


def _of_links(done: Prepared) -> str:
    """Returns where collision shapes stick out most, and at how many links the aim was missed."""
    worst = max(done.links, key=lambda one: one.error.out_mm).body
    far = sum(link.missed for link in done.links)
    aim = _marked(f"aim missed at {far} of {len(done.links)} links", True) if far else "aim reached"
    return Markup("at {}; {}").format(worst, aim)


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
        lit = (
            _under_a_sky(done.original.spec),
            _under_a_sky(mujoco.MjSpec.from_file(str(done.path))),
        )
        with _Camera(lit[0], old_pose, SIZE) as old, _Camera(lit[1], done.home, SIZE) as new:
            robot = [
                SideBySide(
                    "As drawn", old(old_seen, _drawn), new(seen, _drawn), ("original", "prepared")
                ),
                SideBySide(
                    "As it collides",
                    old(old_seen, _solid),
                    new(seen, _solid),
                    (
                        "original: meshes as C MuJoCo collides them, by their convex hulls",
                        "prepared: the shapes in their place",
                    ),
                ),
            ]
        with (
            _Camera(lit[0], old_pose, LINK_SIZE) as old,
            _Camera(lit[1], done.home, LINK_SIZE) as new,
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
        ("original: the convex hulls", "prepared: the shapes, over what is drawn"),
        f"Sticks out {link.error.out_mm:.1f} mm, falls short {link.error.short_mm:.1f} mm; aimed "
        f"at {link.accepted_mm:.1f} mm{', which was missed' if link.missed else ''}.",
        link.missed,
    )


def _under_a_sky(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """Returns the model of a specification with a plain light sky instead of its own, if any."""
    spec = spec.copy()
    painted = {name for material in spec.materials for name in material.textures}
    for texture in list(spec.textures):
        if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX and texture.name not in painted:
            spec.delete(texture)
    taken = {texture.name for texture in spec.textures}
    spec.add_texture(
        name=free("sky", taken),
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=SKY,
        rgb2=SKY,
        width=16,
        height=96,
    )
    return spec.compile()


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
        self._model.vis.map.shadowclip *= 4  # a small map of shadows speckles the floor at its edge
        self._model.vis.quality.shadowsize = 8192
        self._data = mujoco.MjData(self._model)
        self._data.qpos[:] = pose
        mujoco.mj_forward(self._model, self._data)
        buffer = self._model.vis.global_
        buffer.offheight, buffer.offwidth = (
            max(size[0], buffer.offheight),
            max(size[1], buffer.offwidth),
        )
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
