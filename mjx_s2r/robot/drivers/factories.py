"""Factories of the drivers that need more than a contract: flight logs, LeRobot, ROS 2."""

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.calibration import read_calibration
from mjx_s2r.robot.driver import Driver
from mjx_s2r.robot.drivers.lerobot import LeRobotRobot
from mjx_s2r.robot.drivers.named import DriverOrder, import_callable
from mjx_s2r.robot.drivers.replay import ReplayDriver
from mjx_s2r.robot.drivers.ros2 import RosRobot
from mjx_s2r.robot.log import LogError, read


def replay_factory(order: DriverOrder) -> Driver:
    """Returns a flight log as a robot, "replay:PATH"; commands are kept and change nothing.

    Raises:
        ContractError: no flight log there.
    """
    order.words()
    try:
        return ReplayDriver(read(order.address), order.clock, dry_run=True)
    except LogError as error:
        raise ContractError(f"nothing to replay: {error}") from error


def lerobot_factory(order: DriverOrder) -> Driver:
    """Returns a LeRobot robot, "lerobot:module:function", which a function without arguments makes.

    Options: ``calibration``, a file, which must be given; ``degrees``, 1 where the robot was made
    with ``use_degrees``; ``names``, "MOTOR=JOINT,..." where the policy's differ; ``max_hz``,
    ``camera_hz``, ``max_rate``; ``limp_on_close``, 1 to let the arm drop at the end.

    Raises:
        ContractError: a wrong option; what the calibration and the robot refuse.
    """
    words = ("calibration", "names")
    given = order.words(*words)
    numbers = order.numbers(
        *words,
        max_hz=30.0,
        camera_hz=30.0,
        max_rate=float("inf"),
        degrees=0,
        limp_on_close=0,
    )
    if not given["calibration"]:
        raise ContractError("a LeRobot robot needs the driver option calibration=FILE")
    pairs = [pair.partition("=") for pair in given["names"].split(",") if pair]
    joints = read_calibration(
        given["calibration"],
        degrees=bool(numbers["degrees"]),
        names={motor: joint for motor, _, joint in pairs},
    )
    return LeRobotRobot(
        import_callable(order.address)(),
        joints,
        order.clock,
        contract=order.policy,
        max_hz=numbers["max_hz"],
        camera_hz=numbers["camera_hz"],
        max_rate=numbers["max_rate"],
        limp_on_close=bool(numbers["limp_on_close"]),
    )


def ros2_factory(order: DriverOrder) -> Driver:
    """Returns a robot behind ROS 2.

    Options: ``name``, of this robot, which its stages and its latched stops belong to; without it
    "ros2" and the topics that are given. ``joint_states`` and ``commands``, topics; ``controller``,
    "forward" or "trajectory"; ``wait_s``; ``max_hz``, 0 is four times the policy's rate.

    Raises:
        ContractError: a wrong option, efforts as a trajectory, or no policy, whose joints and
            limits are taken.
    """
    words = ("name", "joint_states", "commands", "controller")
    given, numbers = order.words(*words), order.numbers(*words, wait_s=5.0, max_hz=0.0)
    if order.policy is None:
        raise ContractError(
            "the driver 'ros2' takes joints and limits from a policy's contract; name a policy"
        )
    controller = given["controller"] or "forward"
    if controller not in ("forward", "trajectory"):
        raise ContractError(f"driver option controller={controller!r} is forward or trajectory")
    topics = [topic for topic in (given["joint_states"], given["commands"]) if topic]
    return RosRobot(
        order.contract,
        order.clock,
        name=given["name"] or " ".join(["ros2", *topics]),
        joint_states=given["joint_states"] or "/joint_states",
        commands=given["commands"],
        controller="trajectory" if controller == "trajectory" else "forward",
        wait_s=numbers["wait_s"],
        max_hz=numbers["max_hz"],
    )
