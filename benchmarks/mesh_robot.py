"""A robot of meshes, as a maker publishes one: MJCF and URDF beside a folder of mesh files.

An arm with four hinges, written from known shapes: filleted boxes, capsules, a sphere and an L of
two boxes. Its geoms have no names, most meshes are drawn and collide as well, one is textured, the
hand's mass comes from its geoms, and there is no camera, light, floor or keyframe. `SHAPES` says
what each mesh is, so that whatever reads the meshes can be measured against the truth.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Rounded:
    """All points within ``radius`` of a box: a sphere, a capsule (along z) or a filleted box."""

    core: Vector
    """Half sizes of the box [m]."""
    radius: float
    """Radius of the fillet [m]."""
    at: Vector = (0.0, 0.0, 0.0)
    """Centre in the mesh [m]."""


@dataclass(frozen=True)
class Part:
    """A mesh on a link."""

    mesh: str
    pos: Vector = (0.0, 0.0, 0.0)
    rpy: Vector = (0.0, 0.0, 0.0)
    colour: str = "shell"
    collides: bool = True


@dataclass(frozen=True)
class Link:
    """A body with the hinge that carries it and its parts."""

    name: str
    pos: Vector
    mass: float
    size: Vector  # of the box whose inertia it has [m]
    centre: Vector  # of mass [m]
    parts: tuple[Part, ...]
    axis: Vector | None = None
    reach: float = 0.0  # limit of the hinge on both sides [rad]
    effort: float = 0.0  # [N m]


SHAPES: dict[str, tuple[Rounded, ...]] = {
    "plinth": (Rounded((0.055, 0.055, 0.025), 0.004),),
    "motor": (Rounded((0.0196, 0.0096, 0.0146), 0.003),),
    "turret": (Rounded((0.0, 0.0, 0.0), 0.045),),
    "upper_arm": (Rounded((0.0, 0.0, 0.09), 0.03),),
    "cover": (Rounded((0.001, 0.018, 0.05), 0.001),),
    "forearm": (  # an L, which one primitive cannot be
        Rounded((0.012, 0.018, 0.078), 0.002, (0.0, 0.0, 0.08)),
        Rounded((0.043, 0.018, 0.010), 0.002, (0.031, 0.0, 0.148)),
    ),
    "hand": (Rounded((0.028, 0.018, 0.013), 0.002),),
    "finger": (Rounded((0.0, 0.0, 0.02), 0.008),),
}
TEXTURED = "cover"
LINKS = (
    Link(
        name="base",
        pos=(0.0, 0.0, 0.0),
        mass=0.6,
        size=(0.12, 0.12, 0.06),
        centre=(0.0, 0.0, 0.03),
        parts=(
            Part("plinth", (0.0, 0.0, 0.029)),
            Part("motor", (0.0, 0.0, 0.045), (0.0, np.pi / 2, 0.0), "motor", collides=False),
        ),
    ),
    Link(
        name="turret",
        pos=(0.0, 0.0, 0.06),
        mass=0.3,
        size=(0.07, 0.07, 0.07),
        centre=(0.0, 0.0, 0.03),
        parts=(
            Part("turret", (0.0, 0.0, 0.04)),
            Part("motor", (0.0, 0.05, 0.045), (0.0, 0.0, 0.0), "motor"),
        ),
        axis=(0.0, 0.0, 1.0),
        reach=2.8,
        effort=6.0,
    ),
    Link(
        name="upper_arm",
        pos=(0.0, 0.0, 0.05),
        mass=0.25,
        size=(0.05, 0.05, 0.2),
        centre=(0.0, 0.0, 0.1),
        parts=(
            Part("upper_arm", (0.0, 0.0, 0.1)),
            Part("cover", (0.031, 0.0, 0.1), colour="print", collides=False),
            Part("motor", (0.0, 0.02, 0.2), (0.0, np.pi / 2, 0.0), "motor", collides=False),
        ),
        axis=(0.0, 1.0, 0.0),
        reach=1.6,
        effort=6.0,
    ),
    Link(
        name="forearm",
        pos=(0.0, 0.0, 0.22),
        mass=0.2,
        size=(0.05, 0.04, 0.16),
        centre=(0.01, 0.0, 0.09),
        parts=(
            Part("forearm"),
            Part("motor", (0.055, 0.0, 0.15), (0.0, 0.0, np.pi / 2), "motor"),
        ),
        axis=(0.0, 1.0, 0.0),
        reach=1.7,
        effort=4.0,
    ),
    Link(
        name="hand",
        pos=(0.055, 0.0, 0.185),
        mass=0.0,  # from its geoms
        size=(0.06, 0.04, 0.03),
        centre=(0.0, 0.0, 0.0),
        parts=(
            Part("hand", (0.0, 0.0, 0.01)),
            Part("finger", (0.02, 0.0, 0.045)),
            Part("finger", (-0.02, 0.0, 0.045)),
        ),
        axis=(0.0, 1.0, 0.0),
        reach=1.5,
        effort=2.0,
    ),
)
COLOURS = {"shell": (0.93, 0.93, 0.9), "motor": (0.1, 0.1, 0.12)}
DENSITY = 900.0  # kg/m^3, of the hand


def write_mesh_robot(folder: Path, faces: int = 20_000, urdf: bool = False) -> Path:
    """Writes the robot and its meshes; returns the MJCF, or the URDF.

    The meshes lie in ``folder``/assets as a maker's tool exports them: binary STL, and an OBJ with
    texture coordinates beside its PNG. The URDF has efforts and limits, and neither
    actuators nor textures. The same arguments give the same bytes.

    Args:
        folder: made where it is not there.
        faces: triangles of all mesh files together, about; a mesh on several links counts once.
        urdf: write robot.urdf instead of robot.xml.
    """
    assets = folder / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    for name, shape in SHAPES.items():
        mesh = part_mesh(shape, faces // len(SHAPES))
        if name == TEXTURED:
            _write_obj(assets / f"{name}.obj", mesh)
            Image.fromarray(_print()).save(assets / f"{name}.png")
        else:
            (assets / f"{name}.stl").write_bytes(trimesh.exchange.stl.export_stl(mesh))
    path = folder / ("robot.urdf" if urdf else "robot.xml")
    path.write_text(_urdf() if urdf else _mjcf())
    return path


def part_mesh(shape: tuple[Rounded, ...], faces: int) -> trimesh.Trimesh:
    """Returns the surface of a shape with about ``faces`` triangles; its pieces stay loose."""
    pieces = [_surface(piece, faces // len(shape)) for piece in shape]
    first = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    corners = np.concatenate([piece.faces + at for piece, at in zip(pieces, first, strict=False)])
    return trimesh.Trimesh(np.concatenate([p.vertices for p in pieces]), corners, process=False)


def _surface(piece: Rounded, faces: int) -> trimesh.Trimesh:
    """Returns a sphere's triangles, pulled apart by the core: flat sides of few large triangles."""
    rings = max(4, round(np.sqrt(faces / 16)) * 2)  # even: a ring lies on the equator
    ball = trimesh.creation.uv_sphere(count=[rings, rings])
    side = np.sign(np.where(np.abs(ball.vertices) < 1e-9, 0.0, ball.vertices))
    points = ball.vertices * piece.radius + side * piece.core + piece.at
    return trimesh.Trimesh(points, ball.faces, process=False)


def _file(mesh: str) -> str:
    return f"{mesh}.obj" if mesh == TEXTURED else f"{mesh}.stl"


def _write_obj(path: Path, mesh: trimesh.Trimesh) -> None:
    """Writes vertices, texture coordinates (over the largest side) and faces."""
    low, high = mesh.bounds
    uv = ((mesh.vertices - low) / (high - low))[:, 1:]
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in mesh.vertices]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uv]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in mesh.faces + 1]
    path.write_text("\n".join(lines) + "\n")


def _print(px: int = 64) -> np.ndarray:
    """Returns the texture (H, W, 3) uint8: stripes with a red corner, so that turns show."""
    row, column = np.mgrid[:px, :px]
    stripe = (row // 8 % 2)[..., None]
    image = np.where(stripe, (40, 90, 200), (235, 235, 245))
    return np.where(((row < 16) & (column < 16))[..., None], (210, 30, 30), image).astype(np.uint8)


def _text(values: object) -> str:
    return " ".join(f"{value:.8g}" for value in np.asarray(values, dtype=float).ravel())


def _inertia(link: Link) -> np.ndarray:
    """Returns the moments (3,) of a box [kg m^2]."""
    square = np.square(link.size)
    return link.mass / 12 * (square.sum() - square)


def _mjcf() -> str:
    materials = "\n".join(
        f'    <material name="{name}" rgba="{_text(rgb)} 1"/>' for name, rgb in COLOURS.items()
    )
    meshes = "\n".join(f'    <mesh file="{_file(name)}"/>' for name in SHAPES)
    actuators = "\n".join(
        f'    <position joint="{link.name}_joint" kp="40" kv="1" ctrlrange="-{link.reach:g} '
        f'{link.reach:g}" forcerange="-{link.effort:g} {link.effort:g}"/>'
        for link in LINKS
        if link.axis
    )
    return f"""<mujoco model="mesh_arm">
  <compiler angle="radian" meshdir="assets" texturedir="assets"/>
  <default>
    <joint damping="0.5" armature="0.01"/>
    <default class="visual">
      <geom type="mesh" contype="0" conaffinity="0" group="2" mass="0"/>
    </default>
    <default class="collision">
      <geom type="mesh" group="3" density="{DENSITY:g}"/>
    </default>
  </default>
  <asset>
    <texture type="2d" name="print" file="{TEXTURED}.png"/>
    <material name="print" texture="print"/>
{materials}
{meshes}
  </asset>
  <worldbody>
{_bodies()}
  </worldbody>
  <actuator>
{actuators}
  </actuator>
</mujoco>
"""


def _bodies() -> str:
    lines = []
    for depth, link in enumerate(LINKS):
        pad = " " * (4 + 2 * depth)
        lines.append(f'{pad}<body name="{link.name}" pos="{_text(link.pos)}">')
        if link.axis:
            lines.append(
                f'{pad}  <joint name="{link.name}_joint" axis="{_text(link.axis)}" '
                f'range="-{link.reach:g} {link.reach:g}"/>'
            )
        if link.mass:
            lines.append(
                f'{pad}  <inertial pos="{_text(link.centre)}" mass="{link.mass:g}" '
                f'diaginertia="{_text(_inertia(link))}"/>'
            )
        for part in link.parts:
            quat = Rotation.from_euler("xyz", part.rpy).as_quat(scalar_first=True)
            where = f'mesh="{part.mesh}" pos="{_text(part.pos)}" quat="{_text(quat)}"'
            lines.append(f'{pad}  <geom class="visual" {where} material="{part.colour}"/>')
            if part.collides:
                lines.append(f'{pad}  <geom class="collision" {where}/>')
    lines += [" " * (4 + 2 * depth) + "</body>" for depth in reversed(range(len(LINKS)))]
    return "\n".join(lines)


def _urdf() -> str:
    blocks = []
    for index, link in enumerate(LINKS):
        mass = link.mass or 0.1
        ixx, iyy, izz = _inertia(link) if link.mass else np.full(3, 5e-5)
        lines = [f'  <link name="{link.name}">', "    <inertial>"]
        lines.append(f'      <origin xyz="{_text(link.centre)}"/><mass value="{mass:g}"/>')
        lines.append(
            f'      <inertia ixx="{ixx:.8g}" iyy="{iyy:.8g}" izz="{izz:.8g}" ixy="0" ixz="0" '
            'iyz="0"/>'
        )
        lines.append("    </inertial>")
        for part in link.parts:
            shape = (
                f'<origin xyz="{_text(part.pos)}" rpy="{_text(part.rpy)}"/>'
                f'<geometry><mesh filename="assets/{_file(part.mesh)}"/></geometry>'
            )
            colour = "shell" if part.colour == "print" else part.colour
            paint = f'<material name="{colour}"/>'
            lines.append(f"    <visual>{shape}{paint}</visual>")
            if part.collides:
                lines.append(f"    <collision>{shape}</collision>")
        blocks += [*lines, "  </link>"]
        if link.axis:
            blocks += [
                f'  <joint name="{link.name}_joint" type="revolute">',
                f'    <parent link="{LINKS[index - 1].name}"/><child link="{link.name}"/>',
                f'    <origin xyz="{_text(link.pos)}"/><axis xyz="{_text(link.axis)}"/>',
                f'    <limit lower="-{link.reach:g}" upper="{link.reach:g}" '
                f'effort="{link.effort:g}" velocity="6"/>',
                "  </joint>",
            ]
    paints = [
        f'  <material name="{name}"><color rgba="{_text(rgb)} 1"/></material>'
        for name, rgb in COLOURS.items()
    ]
    return "\n".join(['<robot name="mesh_arm">', *paints, *blocks, "</robot>", ""])
