"""Episodes of an evaluation in a file, a line each, so that one that was stopped goes on.

Each has its number among all of its part; they come in any order, as several processes end them.

The first line says what the episodes depend on. Where that is another now, the file begins anew.
The file is written whole after every episode, which itself takes far longer.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.eval.robot_episodes import RobotEpisode
from mjx_s2r.io.run import read_whole_lines, write_text_whole
from mjx_s2r.robot.log.wear import JointWear

KEY = "evaluation"  # of the first line


class KeptEpisodes:
    """The episodes of an evaluation, in parts (on robots, in simulated worlds)."""

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        """Reads the episodes in ``path`` if they are those of ``key``; else begins anew.

        Args:
            path: the file; made with the first episode.
            key: what the episodes depend on, of JSON values.
        """
        self._path, self._head = path, {KEY: json.loads(json.dumps(key))}
        self._parts: dict[str, dict[int, RobotEpisode]] = {}
        self._lines: list[str] = []
        head, *rows = read_whole_lines(path)[0] or [{}] if path.exists() else [{}]
        for row in rows if head == self._head else []:
            self._parts.setdefault(row["part"], {})[row["number"]] = _episode(row["episode"])
            self._lines.append(json.dumps(row))

    def episodes(self, part: str) -> dict[int, RobotEpisode]:
        """Returns the episodes of a part by their numbers."""
        return dict(self._parts.get(part, {}))

    def add(self, part: str, number: int, episode: RobotEpisode) -> None:
        """Keeps an episode of a part; its frames are not kept."""
        row = {"part": part, "number": number, "episode": _row(episode)}
        self._parts.setdefault(part, {})[number] = episode
        self._lines.append(json.dumps(row))
        write_text_whole(self._path, "\n".join((json.dumps(self._head), *self._lines)) + "\n")

    def remove(self) -> None:
        """Removes the file: the evaluation is finished."""
        self._path.unlink(missing_ok=True)


def _row(episode: RobotEpisode) -> dict[str, Any]:
    """Returns an episode as JSON values, without its frames."""
    row = {name: value for name, value in vars(episode).items() if name != "frames"}
    worn = [asdict(one) for one in episode.wear]
    return row | {"act_s": episode.act_s.tolist(), "events": dict(episode.events), "wear": worn}


def _episode(row: Mapping[str, Any]) -> RobotEpisode:
    """Returns the episode of a row."""
    bodies = {name: tuple(pose) for name, pose in row["bodies"].items()}
    worn = tuple(JointWear(**one) for one in row["wear"])
    arrays = {"act_s": np.array(row["act_s"])}
    return RobotEpisode(**{**row, **arrays, "bodies": bodies, "wear": worn})
