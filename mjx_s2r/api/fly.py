"""Flying a policy to look at it: a few episodes on stand-ins, a film and a page of them.

The file runs through controller and guard, as in an evaluation (`mjx_s2r.api.robots`); what is
added is to look on. A few episodes are no verdict: that is what `evaluate` is for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from markupsafe import Markup

from mjx_s2r.api.gallery import GalleryPolicy
from mjx_s2r.api.robots import (
    EvaluateConfig,
    episode_rules,
    fitting_robots,
    open_policy,
    realities,
)
from mjx_s2r.contract import PolicyContract
from mjx_s2r.envs.registry import robots_of
from mjx_s2r.eval.robot_episodes import (
    EvalConfig,
    JudgedRobot,
    RobotEpisode,
    run_episodes,
)
from mjx_s2r.io.run import check_writable
from mjx_s2r.report import media
from mjx_s2r.report.flight_film import (
    StateRecorder,
    Watcher,
    draw_states,
    thinned,
    with_eye,
    with_outcome,
)
from mjx_s2r.report.page import write_page
from mjx_s2r.robot.drivers.sim_robot import can_render
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.verdict import SUCCESS
from mjx_s2r.runtime.progress import progress

PAGE, FILM = "flight.html", "flight.webp"
SIZE = 240, 320  # height and width of an episode in the film, px
MOST_HZ, MOST_FRAMES, QUALITY = 12.5, 90, 70
MOST_FILMED = 6  # episodes in the film


@dataclass(frozen=True)
class ShownFlight:
    """Episodes that were flown to be looked at.

    Attributes:
        episodes: what became of each.
        page: the page of them, one file.
        film: the film alone; None where there is no OpenGL to draw it.
    """

    episodes: tuple[RobotEpisode, ...]
    page: Path
    film: Path | None

    @property
    def successes(self) -> int:
        """How many episodes reached the goal."""
        return sum(episode.success for episode in self.episodes)


def show_flight(
    config: EvaluateConfig,
    out: Path,
    *,
    entry: GalleryPolicy | None = None,
    watch: Watcher | None = None,
) -> ShownFlight:
    """Flies a policy, one episode on each robot, and writes film and page.

    Args:
        config: policy, task, reality and kind of robots; ``count`` is the number of episodes.
        out: folder that both go to.
        entry: the policy's place in the gallery, whose card the page then shows.
        watch: is shown every state of the robot while it flies.

    Raises:
        ParamError, ConfigError, ModelError, TaskError: as `mjx_s2r.api.robots.realities` and
            `mjx_s2r.eval.stand_ins.stand_ins`.
        ContractError: a policy that cannot be read, of another task, or that does not fit.
        RunError: a folder that cannot be written.
    """
    check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    policy, task = open_policy(config.policy, config.task)
    name = config.task or policy.contract.task
    chosen = realities(name, config)
    robots = fitting_robots(policy.contract, task, chosen)
    rules = episode_rules(policy.contract, task, safety=config.safety, films=1, logs=config.logs)
    flown: list[RobotEpisode] = []
    shots: list[np.ndarray] = []
    draws, count = can_render(), sum(reality.count for reality in chosen)
    with progress("episodes", count) as bar:
        for robot in robots:
            recorder = StateRecorder(robot.judge, watch)
            episode = _one(policy, replace(robot, judge=recorder), rules)
            flown.append(episode)
            if draws and len(shots) < MOST_FILMED:
                shots.append(_drawn(robot, recorder, episode, policy.contract))
            bar.update(len(flown), f"{robot.name}: {episode.reason}")
    film = None
    if shots:
        film = out / FILM
        film.write_bytes(_film(shots, flown, policy.contract))
    page = out / PAGE
    write_page(
        page,
        "flight.html.j2",
        title=f"{task.name}: {len(flown)} episodes on stand-ins",
        goal=_goal(entry, name, task.hold_s),
        mood=_mood(flown),
        successes=sum(e.success for e in flown),
        episodes=len(flown),
        film=Markup(media.data_url("webp", film.read_bytes())) if film is not None else "",
        still=media.png_url(_mosaic([s[-1] for s in shots], flown)) if shots else "",
        filmed=len(shots),
        sees=any(c.kind == "rgb" for c in policy.contract.cameras),
        rows=[_row(e, policy.contract) for e in flown],
        reality="" if config.reality is None else config.reality.name,
        card=None if entry is None else entry.card,
        name="" if entry is None else entry.name,
        policy=config.policy,
        task=name,
        contract_task=policy.contract.task,
    )
    return ShownFlight(tuple(flown), page, film)


def _goal(entry: GalleryPolicy | None, task: str, hold_s: float) -> str:
    """Returns what counts as a success: as the card says, or the task's robots, or its time."""
    if entry is not None:
        return entry.card.goal
    suite = robots_of(task)
    return f"The goal must hold for {hold_s:g} s." if suite is None else suite.GOAL


def _one(policy: Policy, robot: JudgedRobot, rules: EvalConfig) -> RobotEpisode:
    """Flies one episode."""
    return next(iter(list(run_episodes(policy, [robot], 1, rules))))


def _drawn(
    robot: JudgedRobot, recorder: StateRecorder, episode: RobotEpisode, contract: PolicyContract
) -> np.ndarray:
    """Returns (F, H, W, 3) the film of one episode."""
    kept = thinned(len(recorder.states), contract.control_hz, MOST_HZ, MOST_FRAMES)
    seen = None if episode.frames is None else episode.frames[kept]
    return with_eye(draw_states(robot.model, [recorder.states[i] for i in kept], SIZE), seen)


def _film(
    shots: Sequence[np.ndarray], flown: Sequence[RobotEpisode], contract: PolicyContract
) -> bytes:
    """Returns the episodes side by side as a WebP; all play at the pace of the longest."""
    most = max(len(s) for s in shots)
    longest = max(e.steps for e in flown[: len(shots)])
    held = [
        with_outcome(_at_pace(s, round(most * e.steps / longest)), most, e.success)
        for s, e in zip(shots, flown, strict=False)
    ]
    frames = np.stack([_mosaic([s[i] for s in held], flown) for i in range(most)])
    frame_s = longest / contract.control_hz / max(most - 1, 1)
    return media.webp(frames, frame_s, MOST_FRAMES, quality=QUALITY)


def _at_pace(shots: np.ndarray, frames: int) -> np.ndarray:
    """Returns an episode's film in so many frames, its last one kept."""
    return shots[np.linspace(0, len(shots) - 1, max(1, frames)).round().astype(int)]


def _mosaic(tiles: Sequence[np.ndarray], flown: Sequence[RobotEpisode]) -> np.ndarray:
    """Returns one picture of all episodes, each with the name of its robot and what became."""
    titles = [f"{e.robot}: {e.reason}" for e, _ in zip(flown, tiles, strict=False)]
    return media.mosaic(np.stack(tiles), min(3, len(tiles)) if len(tiles) != 4 else 2, titles)


def _mood(flown: Sequence[RobotEpisode]) -> str:
    """Returns the colour of the verdict."""
    good = sum(e.success for e in flown)
    return "good" if good == len(flown) else "open" if good else "bad"


def _row(episode: RobotEpisode, contract: PolicyContract) -> tuple[str, ...]:
    """Returns a line of the table: robot, outcome, time, return, what the guard did."""
    guard = ", ".join(f"{code} {count}" for code, count in episode.events.items())
    return (
        episode.robot,
        "reached the goal" if episode.reason == SUCCESS else episode.reason,
        f"{episode.steps / contract.control_hz:.2f} s",
        f"{episode.episode_return:.1f}",
        guard or "nothing",
    )
