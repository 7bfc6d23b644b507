"""The measured gap of a policy: played on both sides, replayed, blamed, looked at.

One file flies robots (or a person says how its flights went) and worlds of its training; the
flights' logs do the rest. Each part stands alone: what it needs and is not there is said, and the
others go on. The figures are written after each part, so an interruption loses only the part that
is being measured.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import mujoco
import numpy as np
import tyro

from mjx_s2r.api.policy import VARIANT_LIMIT, TrainedPolicy, exported_difference, load_policy
from mjx_s2r.api.robots import (
    EvaluateConfig,
    evaluate_in_simulation,
    evaluate_on_robots,
    open_policy,
    performance,
)
from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract
from mjx_s2r.curriculum.coordinates import select_rows
from mjx_s2r.envs.registry import name_of
from mjx_s2r.eval.gap_verdict import judge_gap
from mjx_s2r.eval.intervals import mean_interval, wilson
from mjx_s2r.eval.performance import EpisodeFigure, Performance
from mjx_s2r.eval.robot_episodes import RobotEpisode, log_name
from mjx_s2r.eval.simulated_worlds import trained_bounds
from mjx_s2r.eval.world_judge import judge_worlds
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import POLICY, RunError, write_json
from mjx_s2r.params import ParamError
from mjx_s2r.robot.driver import COMMAND
from mjx_s2r.robot.drivers.mujoco_wiring import placed_bodies
from mjx_s2r.robot.log import Flight, LogError, read
from mjx_s2r.robot.policy import Policy
from mjx_s2r.runtime.progress import console, progress
from mjx_s2r.runtime.random_keys import evaluation_keys
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.gap.blame import explained_together, find_blame, replay_error
from mjx_s2r.transfer.gap.domains import DomainGap, compare_domains
from mjx_s2r.transfer.gap.objects import Objects, read_objects
from mjx_s2r.transfer.gap.observations import (
    ObservationGap,
    compare_observations,
    observations_of,
)
from mjx_s2r.transfer.gap.pictures import (
    PicturePairs,
    action_difference,
    flown_pictures,
    pair_pictures,
)
from mjx_s2r.transfer.gap.replay import EXACT, measure_replay, replayer
from mjx_s2r.transfer.gap.result import GapReport, PictureGap, Place
from mjx_s2r.transfer.mapping import read_mapping
from mjx_s2r.transfer.readers import read_recordings
from mjx_s2r.transfer.recording import Recording, RecordingError
from mjx_s2r.transfer.recording_checks import check_recordings

SIMULATED, NOMINAL, ROBOT, OWN = "simulation", "nominal world", "robot", "training's engine"
WORLDS = 256  # that the training's own engine plays
FIGURES_FILE = "gap.json"
BY_MOTION = ("model.*", "actuator.delay_s", "actuator.offset")


@dataclass(frozen=True)
class GapConfig:
    """Settings of a measurement."""

    policy: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="POLICY")] = None
    """The exported policy; by default that in the folder of --run."""
    task: str = ""
    """Its task, a name or module:Class; empty: that of --run, or the name in the policy's
    contract."""
    run: Path | None = None
    """Folder of the policy's run: its training's own engine plays it, too, in many worlds at
    once."""
    reality: Path | None = None
    """Reality file of the stand-ins that are flown (docs/reality.md); absent: the task's own."""
    flights: tuple[Path, ...] = ()
    """Logs of flights of this policy on a robot; none of the stand-ins is flown then."""
    successes: int | None = None
    """How many of these flights reached the goal, as a person counted."""
    logs: tuple[Path, ...] = ()
    """Further logs of the robot for the replay, of any motion."""
    mapping: Path | None = None
    """Mapping file of those that are no flight logs (docs/recordings.md)."""
    objects: Path | None = None
    """JSON file that says where things were in each flight, for pictures (docs/gap.md)."""
    count: int | None = None
    """Number of stand-ins, and of simulated worlds; by default as the reality says, or 10."""
    episodes: int = 5
    """Episodes on each stand-in and in each world."""
    rows: tuple[str, ...] = ()
    """Rows that may be to blame, as patterns of names or fields; empty: all that motion tells."""
    window_s: float = 0.5
    """Length of a window that is replayed in open loop, s."""
    together: bool = True
    """Whether a fit of all rows says what they explain at best."""
    pictures: int = 200
    """Moments whose pictures are compared, at most."""
    out: Path | None = None
    """Folder of page, figures and logs; by default "gap" beside the policy."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a number that cannot be; settings that exclude each other.
        """
        if self.policy is None and self.run is None:
            raise ParamError("no policy: name its file, runs/student/policy.onnx, or its --run")
        for name in ("episodes", "pictures"):
            if getattr(self, name) < 1:
                raise ParamError(f"{name} {getattr(self, name)} must be at least 1")
        if not self.window_s > 0:
            raise ParamError(f"window_s {self.window_s} must be above zero, s")
        if self.flights and self.reality is not None:
            raise ParamError("--flights are of a robot, --reality is a stand-in; give one of them")
        if self.successes is not None and not 0 <= self.successes <= len(self.flights):
            raise ParamError(
                f"successes {self.successes} must lie between 0 and the {len(self.flights)} flights"
            )

    @property
    def file(self) -> Path:
        """The exported policy."""
        if self.policy is not None:
            return self.policy
        assert self.run is not None
        return self.run / POLICY

    @property
    def folder(self) -> Path:
        """Folder of page, figures and logs."""
        return self.out or self.file.parent / "gap"


class _Measured:
    """What is measured so far, written to the folder's `FIGURES_FILE` after each part."""

    def __init__(self, config: GapConfig, task: Task, missing: list[str]) -> None:
        """Begins with nothing; ``missing`` is what was left out, and grows."""
        self._file, self._missing = config.folder / FIGURES_FILE, missing
        name = config.file.name
        self._report = GapReport(task.name, name, task.space, (), None, None, None, None, (), ())

    def add(self, after: str, **parts: Any) -> None:
        """Takes fields of `GapReport` and writes all that there are.

        Args:
            after: what was measured last, for who reads an unfinished file.
            parts: the fields.
        """
        self._report = replace(self._report, **parts)
        stopped = f"unfinished: the measurement was interrupted after {after}"
        told = replace(self._report, missing=(*self._missing, stopped))
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file, told.to_json())

    def report(self) -> GapReport:
        """Returns all, and writes it."""
        self._report = replace(self._report, missing=tuple(self._missing))
        write_json(self._file, self._report.to_json())
        return self._report


@dataclass(frozen=True, eq=False)
class _Flown:
    """What was flown.

    Attributes:
        places: figures.
        paths: logs of the robot's flights.
        robot: the same, opened.
        simulated: flights in worlds of the training.
        objects: where things were in each flight of the robot, or None where nobody said.
    """

    places: tuple[Place, ...]
    paths: tuple[Path, ...]
    robot: tuple[Flight, ...]
    simulated: tuple[Flight, ...]
    objects: tuple[Objects, ...] | None


def measure_gap(config: GapConfig) -> GapReport:
    """Returns all that can be measured of the gap; shows progress.

    Raises:
        ContractError: a policy that cannot be read or of another task; a flight of another robot.
        RunError, CheckpointError: a run that cannot be opened, or that holds another policy.
        RecordingError: a log that cannot be used.
        ParamError, ConfigError, ModelError, TaskError: as `evaluate_on_robots`.
    """
    trained = None if config.run is None else _opened(config.run, config.policy)
    if trained is not None and not config.task:
        config = replace(config, task=name_of(trained.trainer.env))
    policy, task = open_policy(config.file, config.task)
    if trained is not None:
        _check_same(trained, policy, config)
    bounds = trained_bounds(task, policy.contract)
    rows = select_rows(task.space, config.rows or _told_by_motion(task))
    objects = None if config.objects is None else read_objects(config.objects, task.mj_model)
    given = _given_flights(config, policy.contract)
    more = _further_logs(config, task)
    missing: list[str] = []
    if not policy.contract.ranges:
        missing.append("ranges: the file does not say what it was trained on; nominal is taken")
    measured = _Measured(config, task, missing)
    flown = _fly_both(config, given, objects, trained, missing)
    by_name = {place.name: place.performance for place in flown.places}
    if ROBOT in by_name:
        verdict = judge_gap(by_name[SIMULATED], by_name[ROBOT])
        measured.add("the flights", places=flown.places, verdict=verdict)
    else:
        missing.append("verdict: say by --successes how many of the flights reached the goal")
        measured.add("the flights", places=flown.places)
    _replayed(config, task, rows, bounds, flown, more, missing, measured)
    observations = _observed(policy.contract, flown, missing)
    measured.add("the observations", observations=observations)
    pictures: tuple[PictureGap, ...] = ()
    for one in _seen(config, policy, task, flown, missing):
        pictures = (*pictures, one)
        measured.add("pictures", pictures=pictures)
    return measured.report()


def _told_by_motion(task: Task) -> tuple[str, ...]:
    """Returns the patterns of rows that motion tells, of those that the table has."""
    fields = [row.field for row in task.space.rows]
    found = [p for p in BY_MOTION if any(f == p or f.startswith(p.rstrip("*")) for f in fields)]
    if not found:
        raise ParamError(
            f"task {task.name!r} has no row that acts on motion, so nothing explains a difference; "
            "add rows of model.* to its table (docs/rows.md)"
        )
    return tuple(found)


def _given_flights(config: GapConfig, contract: PolicyContract) -> tuple[Flight, ...]:
    """Returns the flights that were given, each of this policy's robot.

    Raises:
        ContractError: a flight of other joints or signals.
        RecordingError: a log that cannot be read.
    """
    found = []
    for path in config.flights:
        try:
            flight = read(path)
        except LogError as error:
            raise RecordingError(str(error)) from error
        ours, theirs = contract.action, flight.contract.action
        if (ours.joints, ours.mode) != (theirs.joints, theirs.mode):
            raise ContractError(
                f"{path.name} is a flight of task {flight.contract.task!r}, which commands "
                f"{theirs.mode} of joints {list(theirs.joints)}; the policy {ours.mode} of "
                f"{list(ours.joints)}; name flights of this robot"
            )
        found.append(flight)
    return tuple(found)


def _further_logs(config: GapConfig, task: Task) -> tuple[Recording, ...]:
    """Returns further recordings of the robot.

    Raises:
        RecordingError: as `read_recordings`.
    """
    if not config.logs:
        if config.mapping is not None:
            raise ConfigError(f"mapping {config.mapping} is of logs; name them by --logs")
        return ()
    mapping = None if config.mapping is None else read_mapping(config.mapping)
    return read_recordings(config.logs, task.mj_model, mapping).recordings


def _fly_both(
    config: GapConfig,
    given: tuple[Flight, ...],
    objects: dict[str, Objects] | None,
    trained: TrainedPolicy | None,
    missing: list[str],
) -> _Flown:
    """Flies simulated worlds, and the stand-ins unless flights were given."""
    evaluate = EvaluateConfig(
        policy=config.file,
        task=config.task,
        reality=config.reality,
        count=config.count,
        episodes=config.episodes,
        films=0,
    )
    places, logs = [], config.folder / "flights"
    if given:
        paths, robot = config.flights, given
        names = [path.name for path in config.flights]
        things = None
        if objects is not None:
            lost = [name for name in names if name not in objects]
            if lost:
                missing.append(f"pictures: the objects' file does not name {', '.join(lost[:3])}")
            things = None if lost else tuple(objects[name] for name in names)
        if config.successes is not None:
            about = f"{len(given)} flights, counted by a person"
            places.append(Place(ROBOT, about, _counted(given, config.successes)))
    else:
        played = evaluate_on_robots(replace(evaluate, logs=logs / "robot"))
        first = {e.robot: e for e in reversed(played)}
        paths = tuple(logs / "robot" / log_name(name) for name in first)
        robot = tuple(read(path) for path in paths)
        things = tuple(e.bodies for e in first.values())
        places.append(Place(ROBOT, _stand_ins(played), performance(played)))
    for name, nominal in ((SIMULATED, False), (NOMINAL, True)):
        folder = replace(evaluate, logs=None if nominal else logs / "simulation")
        played = evaluate_in_simulation(folder, episodes=config.episodes, nominal=nominal)
        about = "the nominal world" if nominal else "worlds of the training, C MuJoCo"
        places.append(Place(name, f"{about}; same file, same starts", performance(played)))
        if not nominal:
            worlds = dict.fromkeys(e.robot for e in played)
            simulated = tuple(read(logs / "simulation" / log_name(x)) for x in worlds)
    places += _own_engine(trained, missing)
    return _Flown(tuple(places), paths, robot, simulated, things)


def _stand_ins(played: Sequence[RobotEpisode]) -> str:
    """Returns what the robots are."""
    return f"{len({e.robot for e in played})} stand-ins"


def _counted(flights: Sequence[Flight], successes: int) -> Performance:
    """Returns the figures of flights that a person has counted; nobody measured the return."""
    steps = [float(np.isfinite(flight.commands).all(1).sum()) for flight in flights]
    count, names = len(flights), [flight.robot for flight in flights]
    unknown = EpisodeFigure(float("nan"), -np.inf, np.inf)
    return Performance(
        episodes=count,
        groups=len(set(names)),
        successes=successes,
        effective=count,
        success=EpisodeFigure(successes / count, *wilson(successes, count)),
        episode_return=unknown,
        length=EpisodeFigure(float(np.mean(steps)), *mean_interval(steps, [""] * count)),
    )


def _opened(run: Path, policy: Path | None) -> TrainedPolicy:
    """Returns what a run holds.

    Args:
        run: its folder.
        policy: the file to compare; None for the run's own.

    Raises:
        RunError: no run there, or one without a file where none is named.
        CheckpointError: as `load_policy`.
    """
    trained = load_policy(run)
    if policy is None and not (run / POLICY).is_file():
        raise RunError(f"{run} holds no {POLICY}; write it: python -m train export --run {run}")
    return trained


def _check_same(trained: TrainedPolicy, policy: Policy, config: GapConfig) -> None:
    """Checks that a run holds the policy of the file, as far as it reads numbers alone.

    Raises:
        RunError: it acts otherwise.
        ContractError, ExportError: as `exported_difference`.
    """
    if trained.trainer.cameras is not None:
        return
    apart = exported_difference(trained, policy)
    if apart > VARIANT_LIMIT:
        raise RunError(
            f"{config.run} holds another policy than {config.file}: their actions differ by "
            f"{apart:.2g} of the action's scale; export it anew (python -m train export --run "
            f"{config.run}), or name the run that the file is from"
        )


def _own_engine(trained: TrainedPolicy | None, missing: list[str]) -> Iterator[Place]:
    """Yields what the training's own engine says of the run's policy."""
    if trained is None:
        return
    if trained.trainer.cameras is not None:
        missing.append(f"{OWN}: a policy that sees is played by its file alone")
        return
    key_draw, key_play = evaluation_keys(0)
    params = trained.evaluation_params("opened", WORLDS, key=key_draw)
    scores = judge_worlds(trained.trainer, trained.state, params.xi, key=key_play)
    yield Place(OWN, f"{WORLDS} worlds of the training, no guard", scores.performance())


@contextmanager
def _left_out(what: str, missing: list[str]) -> Iterator[None]:
    """Notes a part that its data do not allow, and lets the others go on."""
    try:
        yield
    except (RecordingError, ParamError, ValueError) as error:
        missing.append(f"{what}: {error}")


def _replayed(
    config: GapConfig,
    task: Task,
    rows: np.ndarray,
    bounds: np.ndarray,
    flown: _Flown,
    more: tuple[Recording, ...],
    missing: list[str],
    measured: _Measured,
) -> None:
    """Measures the replay of all recordings, and the rows to blame."""
    with _left_out("replay and blame", missing), progress("replaying", 100) as bar:
        recordings = (*read_recordings(flown.paths, task.mj_model).recordings, *more)
        doubts = check_recordings(recordings, task.mj_model).errors
        missing += [f"doubtful logs, replayed all the same: {doubt}" for doubt in doubts]
        chosen = rows & task.space.in_group("model", "actuator", "sensor")
        simulator = replayer(
            task.name, task.mj_model, task.space, chosen, recordings, config.window_s
        )
        places = [task.space.index(name) for name in simulator.space.names]
        inner = bounds[:, places]
        bar.update(5, f"{len(simulator.windows)} windows")
        replay = measure_replay(simulator, *inner)
        measured.add("the replay", replay=replay)
        if replay.is_exact():
            missing.append(
                f"blame: the replayed positions are off by less than {EXACT:.0%} of their motion, "
                "so there is nothing to explain"
            )
            bar.update(100, "done")
            return
        error = replay_error(simulator)

        def tell(share: float, note: str) -> None:
            """Shows how far the search is."""
            bar.update(20 + round(50 * share), note)

        blame = find_blame(error, simulator.space, inner, tell)
        measured.add("the search for rows to blame", blame=blame)
        if config.together:
            together, best = explained_together(simulator, error)
            blame = replace(blame, together=together, together_best=best)
            measured.add("the fit of all rows", blame=blame)
        bar.update(100, "done")


def _observed(contract: PolicyContract, flown: _Flown, missing: list[str]) -> ObservationGap | None:
    """Returns the robot's observations among the simulated ones."""
    if all(s.name == COMMAND for s in contract.signals):
        missing.append("observations: the policy reads no signal")
        return None
    found: ObservationGap | None = None
    with _left_out("observations", missing):
        found = compare_observations(
            contract, observations_of(flown.robot), observations_of(flown.simulated)
        )
    return found


def _seen(
    config: GapConfig, policy: Policy, task: Task, flown: _Flown, missing: list[str]
) -> Iterator[PictureGap]:
    """Yields what the cameras saw."""
    contract = policy.contract
    if not contract.cameras:
        missing.append("pictures: the policy sees nothing")
    things = flown.objects
    if contract.cameras and things is None:
        missing.append(
            "pictures: nobody said where things were; the renders show them where the model has "
            "them (--objects FILE)"
        )
        things = ({},) * len(flown.robot)
    movable = placed_bodies(task.mj_model, mujoco.MjData(task.mj_model))
    for camera in contract.cameras:
        assert things is not None
        known = [{n: x for n, x in each.items() if n in movable} for each in things]
        console.print(f"pictures of camera {camera.name!r}", highlight=False)
        pairs = _paired(task, contract, camera, flown.robot, known, config.pictures, missing)
        if pairs is None:
            continue
        action: np.ndarray | None = None
        with _left_out("difference of actions", missing):
            action = action_difference(policy, pairs)
        paired = _domains(pairs, None, missing)
        varied = _domains(pairs, flown.simulated, missing, config.pictures)
        yield PictureGap(pairs, action, paired, varied)


def _paired(
    task: Task,
    contract: PolicyContract,
    camera: CameraSignal,
    flights: Sequence[Flight],
    objects: Sequence[Objects],
    most: int,
    missing: list[str],
) -> PicturePairs | None:
    """Returns the pictures of one camera beside renders; None where there are none."""
    found: PicturePairs | None = None
    with _left_out(f"pictures of camera {camera.name!r}", missing):
        found = pair_pictures(task, contract, camera, flights, objects, most)
        if not len(found):
            raise ValueError("the flights hold none")
    return found if found is not None and len(found) else None


def _domains(
    pairs: PicturePairs,
    flights: tuple[Flight, ...] | None,
    missing: list[str],
    most: int = 0,
) -> DomainGap | None:
    """Returns how far the robot's pictures are from renders, or from those of simulated flights."""
    what = "renders" if flights is None else "simulated flights"
    simulated, numbers = pairs.simulated, pairs.flight
    if flights is not None:
        found = [flown_pictures(pairs.camera, [f], most // len(flights)) for f in flights]
        numbers = np.repeat(np.arange(len(found)), [len(x) for x in found])
        simulated = np.concatenate(found)
    gap: DomainGap | None = None
    with _left_out(f"pictures beside {what}", missing):
        gap = compare_domains(pairs.robot, simulated, pairs.flight, numbers)
    return gap
