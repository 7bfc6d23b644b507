"""A server that stands in for viser's: it keeps every shape and control that it is asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Shape:
    """A shape in the scene."""

    vertices: Any
    faces: Any
    color: tuple[int, int, int]
    opacity: float | None
    position: tuple[float, ...] = (0.0, 0.0, 0.0)
    wxyz: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)


@dataclass
class Control:
    """Something to press or to slide; setting ``value`` by `put` calls back as a user would."""

    value: Any = None
    limits: tuple[float, float, float] = (0.0, 0.0, 0.0)
    content: str = ""
    called: list[Callable[[Any], None]] = field(default_factory=list)

    def on_update(self, call: Callable[[Any], None]) -> None:
        """Remembers whom to call."""
        self.called.append(call)

    on_click = on_update

    def put(self, value: Any = None) -> None:
        """Does what a user does."""
        self.value = value
        for call in self.called:
            call(self)


@dataclass
class Camera:
    """Where one stands and looks, m."""

    position: tuple[float, ...] = ()
    look_at: tuple[float, ...] = ()


@dataclass
class FakeServer:
    """Scene and page in one object.

    Attributes:
        shapes: by path.
        controls: by label.
        labels: texts in the scene, by path.
        grids: by path.
        initial_camera: where one first stands.
        stopped: whether it has ended.
        folder: the folder that is open.
        batches: how many times shapes were moved together.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    controls: dict[str, Control] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    grids: dict[str, Shape] = field(default_factory=dict)
    initial_camera: Camera = field(default_factory=Camera)
    stopped: bool = False
    folder: str = ""
    batches: int = 0

    @property
    def scene(self) -> "FakeServer":
        """The scene."""
        return self

    @property
    def gui(self) -> "FakeServer":
        """The page."""
        return self

    def add_mesh_simple(
        self, name: str, vertices: Any, faces: Any, color: Any, opacity: Any, side: str
    ) -> Shape:
        """Adds a shape, or replaces the one of that name."""
        assert side == "double"
        return self.shapes.setdefault(name, Shape(vertices, faces, color, opacity))

    def add_label(self, name: str, text: str, *, position: tuple[float, ...]) -> None:
        """Adds a text."""
        assert len(position) == 3
        self.labels[name] = text

    def add_grid(
        self,
        name: str,
        *,
        width: float,
        height: float,
        cell_size: float,
        section_size: float,
        cell_color: tuple[int, int, int],
        section_color: tuple[int, int, int],
    ) -> Shape:
        """Adds a grid."""
        assert width == height and cell_size == section_size and cell_color == section_color
        return self.grids.setdefault(name, Shape((width, cell_size), None, cell_color, None))

    def add_slider(
        self,
        label: str,
        *,
        min: float,
        max: float,
        step: float,
        initial_value: float,
        hint: str | None = None,
    ) -> Control:
        """Adds a slider; as viser does, refuses a value outside its ends."""
        assert min <= initial_value <= max and 0 < step <= max - min
        return self._add(label, Control(initial_value, (min, max, step)))

    def add_checkbox(self, label: str, initial_value: bool, *, hint: str = "") -> Control:
        """Adds a checkbox."""
        return self._add(label, Control(initial_value))

    def add_button(self, label: str, *, hint: str = "") -> Control:
        """Adds a button."""
        return self._add(label, Control())

    def add_markdown(self, content: str) -> Control:
        """Adds a text."""
        return self._add("note", Control(content=content))

    @contextmanager
    def add_folder(self, label: str) -> Iterator[None]:
        """Opens a folder."""
        self.folder = label
        yield
        self.folder = ""

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Counts what is sent together."""
        self.batches += 1
        yield

    def stop(self) -> None:
        """Ends."""
        self.stopped = True

    def _add(self, label: str, control: Control) -> Control:
        """Keeps a control."""
        self.controls[label] = control
        return control
