"""Readers: flight logs, tables of text and arrays, LeRobot datasets and MCAP become recordings."""

from mjx_s2r.transfer.readers.read import LogBook as LogBook
from mjx_s2r.transfer.readers.read import read_recordings as read_recordings
