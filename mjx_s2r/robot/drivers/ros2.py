"""A robot behind ROS 2: joint states and pictures in, commands out. Needs rclpy, from ROS itself.

Reads sensor_msgs/JointState and sensor_msgs/Image, writes std_msgs/Float64MultiArray (for
forward_command_controller) or trajectory_msgs/JointTrajectory (for joint_trajectory_controller).
Messages come in a thread of their own; `read` returns the newest. Their time stamps are taken by
their age in ROS time, so simulated time works, too.
"""

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.drivers.pictures import resize
from mjx_s2r.robot.drivers.velocity import VelocityFilter
from mjx_s2r.robot.log.reader import data_sheet_of
from mjx_s2r.robot.ros2_control import CONTROLLER, RosController

DEPTH = 10  # messages that a publisher keeps
READS = 4  # readings and commands that a topic carries in a control period; a reading is a copy
ENCODINGS = {  # of sensor_msgs/Image: type, channels
    "rgb8": ("uint8", 3),
    "bgr8": ("uint8", 3),
    "16UC1": ("uint16", 1),
    "32FC1": ("float32", 1),
}


class RosRobot:
    """A robot behind ROS 2; implements `mjx_s2r.robot.driver.Driver`."""

    def __init__(
        self,
        contract: PolicyContract,
        clock: Clock,
        *,
        info: DriverInfo | None = None,
        name: str = "ros2",
        max_hz: float = 0.0,
        joint_states: str = "/joint_states",
        commands: str = "",
        controller: RosController = "forward",
        images: Mapping[str, str] | None = None,
        wait_s: float = 5.0,
        velocity_s: float = 0.05,
        node: str = "mjx_s2r",
    ) -> None:
        """Takes the settings; nothing is opened.

        Args:
            contract: of the policy: joints, cameras, rate.
            clock: of the controller; the time stamps are in it.
            info: the robot's data sheet; None believes the contract's limits.
            name: of the robot where there is no data sheet; stages and latched stops belong to it.
            max_hz: fastest rate of commands where there is no data sheet; 0 is `READS` times the
                contract's.
            joint_states: topic of the joint states.
            commands: topic of the commands; "" for the one of the files that
                `mjx_s2r.robot.ros2_control` writes.
            controller: what takes them.
            images: camera -> topic of its pictures; "/NAME/image_raw" where it is missing.
            wait_s: how long `connect` waits for the first message of every topic, s.
            velocity_s: time constant of the filter on differenced positions, where the joint
                states bring no velocities, s.
            node: name of the node.

        Raises:
            ContractError: efforts as a trajectory, or a rate that is none.
        """
        effort = contract.action.mode == "effort"
        if effort and controller == "trajectory":
            raise ContractError("a trajectory holds no efforts; use controller='forward'")
        self._contract, self._clock, self._node_name = contract, clock, node
        if info is None:
            sheet = data_sheet_of(contract, name)
            info = replace(sheet, max_hz=max_hz or READS * contract.control_hz)
        self._info = info
        self._topics = {"joint states": joint_states}
        names = {"forward": "commands", "trajectory": "joint_trajectory"}
        self._command_topic = commands or f"/{CONTROLLER}/{names[controller]}"
        self._controller = controller
        for camera in contract.cameras:
            self._topics[camera.name] = (images or {}).get(camera.name, f"/{camera.name}/image_raw")
        self._wait_s, self._velocity_s = wait_s, velocity_s
        self._lock = threading.Lock()
        self._node: Any = None
        self._last: np.ndarray | None = None
        self._forget()

    def describe(self) -> DriverInfo:
        """Returns the data sheet."""
        return self._info

    def connect(self) -> None:
        """Starts the node and waits for the first message of every topic.

        Raises:
            ContractError: rclpy is missing, a topic is silent, or a joint is not in it.
        """
        if self._node is not None:
            return
        try:
            import rclpy
            from rclpy.executors import SingleThreadedExecutor
            from rclpy.qos import qos_profile_sensor_data
            from sensor_msgs.msg import Image, JointState
        except ImportError as error:
            raise ContractError(
                f"ROS 2 is not to be found ({error}); source its setup.bash and use its Python"
            ) from error
        self._forget()
        self._started_ros = not rclpy.ok()
        if self._started_ros:
            rclpy.init()
        self._node = node = rclpy.create_node(self._node_name)
        quality = qos_profile_sensor_data
        node.create_subscription(JointState, self._topics["joint states"], self._on_joints, quality)
        for camera in self._contract.cameras:
            node.create_subscription(
                Image,
                self._topics[camera.name],
                lambda message, camera=camera: self._on_image(camera, message),
                quality,
            )
        self._publisher = node.create_publisher(self._command_type(), self._command_topic, DEPTH)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._executor.spin, name="ros2", daemon=True)
        self._thread.start()
        try:
            self._await_first()
        except ContractError:
            self.close()
            raise

    def read(self) -> Reading:
        """Returns the newest reading.

        Raises:
            ContractError: not connected, or a message that does not fit the contract.
        """
        with self._lock:
            if self._problem:
                raise ContractError(self._problem)
            if self._joints_s is None:
                raise ContractError("the robot was not connected; call connect first")
            return Reading(
                time_s=self._joints_s,
                signals=dict(self._signals),
                images=dict(self._images),
                image_time_s=dict(self._images_s),
            )

    def write(self, command: np.ndarray) -> None:
        """Publishes one command, (J,).

        Raises:
            ContractError: not connected, not finite or not one value per joint.
        """
        values = np.asarray(command, float)
        if values.shape != (len(self._info.joints),) or not np.isfinite(values).all():
            raise ContractError(
                f"command {command} must be {len(self._info.joints)} finite numbers; it is not sent"
            )
        if self._node is None:
            raise ContractError("the robot was not connected; call connect first")
        self._last = values
        self._publisher.publish(self._message(values.tolist()))

    def stop(self) -> None:
        """Asks for the last position again, which the robot holds, or for no effort."""
        if self._node is None or self._last is None:
            return
        if self._contract.action.mode == "effort":
            self._last = np.zeros_like(self._last)
        self._publisher.publish(self._message(self._last.tolist()))

    def close(self) -> None:
        """Stops and ends the node."""
        if self._node is None:
            return
        self.stop()
        self._executor.shutdown()
        self._thread.join(timeout=2.0)
        self._node.destroy_node()
        self._node = None
        if self._started_ros:
            import rclpy

            rclpy.shutdown()

    def _forget(self) -> None:
        """Forgets what was received."""
        joints = len(self._contract.action.joints)
        self._joints_s: float | None = None
        self._signals: dict[str, np.ndarray] = {}
        self._images: dict[str, np.ndarray] = {}
        self._images_s: dict[str, float] = {}
        self._problem = self._lacking = ""
        self._last = None
        self._filter = VelocityFilter(joints, self._velocity_s)

    def _await_first(self) -> None:
        """Waits until every topic has brought something.

        Raises:
            ContractError: names the silent topics, or what does not fit.
        """
        until_s = time.monotonic() + self._wait_s
        while True:
            with self._lock:
                if self._problem:
                    raise ContractError(self._problem)
                came = {"joint states"} if self._joints_s is not None else set()
                silent = [t for n, t in self._topics.items() if n not in came | self._images.keys()]
            if not silent:
                return
            if time.monotonic() > until_s:
                if self._lacking and not came:
                    raise ContractError(self._lacking)
                raise ContractError(
                    f"no message on {', '.join(silent)} within {self._wait_s:g} s; start the "
                    "robot, or name its topics"
                )
            time.sleep(0.005)

    def _on_joints(self, message: Any) -> None:
        """Takes a sensor_msgs/JointState; it may hold more joints, in any order.

        One that lacks a joint is passed by, as another publisher's: the reading grows old where no
        whole one comes.
        """
        place = {name: index for index, name in enumerate(message.name)}
        missing = [j for j in self._info.joints if j not in place]
        if missing:
            with self._lock:
                self._lacking = (
                    f"{self._topics['joint states']} has no joint {missing}, only {sorted(place)}; "
                    "train with the robot's names, or publish all joints in one message"
                )
            return
        order = [place[j] for j in self._info.joints]
        taken_s = self._taken_s(message.header.stamp)
        position = np.asarray(message.position, float)[order]
        signals = {"joint_pos": position}
        if len(message.velocity) == len(message.name):
            signals["joint_vel"] = np.asarray(message.velocity, float)[order]
        else:
            signals["joint_vel"] = self._filter.update(taken_s, position)
        if len(message.effort) == len(message.name):
            signals["joint_effort"] = np.asarray(message.effort, float)[order]
        with self._lock:
            self._joints_s, self._signals = taken_s, signals

    def _on_image(self, camera: CameraSignal, message: Any) -> None:
        """Takes a sensor_msgs/Image in the size that the policy reads."""
        if message.encoding not in ENCODINGS:
            with self._lock:
                self._problem = (
                    f"camera {camera.name!r} has encoding {message.encoding!r}; deliver one of "
                    f"{list(ENCODINGS)}"
                )
            return
        image = _picture(message)
        picture = resize(image, camera.height, camera.width, camera.optics.fit)
        taken_s = self._taken_s(message.header.stamp)
        with self._lock:
            self._images[camera.name] = picture
            self._images_s[camera.name] = taken_s

    def _taken_s(self, stamp: Any) -> float:
        """Returns a message's time stamp in the controller's clock; none is now."""
        now_s, sent_s = self._clock.now_s(), stamp.sec + 1e-9 * stamp.nanosec
        if sent_s == 0:
            return now_s
        return now_s - max(0.0, 1e-9 * self._node.get_clock().now().nanoseconds - sent_s)

    def _command_type(self) -> Any:
        """Returns the type of the command's messages."""
        if self._controller == "forward":
            from std_msgs.msg import Float64MultiArray

            return Float64MultiArray
        from trajectory_msgs.msg import JointTrajectory

        return JointTrajectory

    def _message(self, values: list[float]) -> Any:
        """Returns a command's message."""
        message = self._command_type()()
        if self._controller == "forward":
            message.data = values
            return message
        from builtin_interfaces.msg import Duration
        from trajectory_msgs.msg import JointTrajectoryPoint

        seconds = 1 / self._contract.control_hz
        whole = math.floor(seconds)
        point = JointTrajectoryPoint()
        point.positions = values
        point.time_from_start = Duration(sec=whole, nanosec=round(1e9 * (seconds - whole)))
        message.joint_names = list(self._info.joints)
        message.points = [point]
        return message


def _picture(message: Any) -> np.ndarray:
    """Returns a sensor_msgs/Image as an array: (H, W, 3) uint8 RGB, or depth (H, W)."""
    name, channels = ENCODINGS[message.encoding]
    kind = np.dtype(name).newbyteorder(">" if message.is_bigendian else "<")
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    used = np.ascontiguousarray(rows[:, : message.width * channels * kind.itemsize])
    image = used.view(kind).astype(name)
    if channels == 1:
        return image
    image = image.reshape(message.height, message.width, channels)
    return image[..., ::-1] if message.encoding == "bgr8" else image
