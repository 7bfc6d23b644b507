"""The flight log: what the controller saw, decided and sent, written, read, shown and exported."""

from mjx_s2r.robot.log.reader import Flight as Flight
from mjx_s2r.robot.log.reader import read as read
from mjx_s2r.robot.log.records import LogError as LogError
from mjx_s2r.robot.log.records import Step as Step
from mjx_s2r.robot.log.writer import FlightLog as FlightLog
