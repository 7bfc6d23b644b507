"""Routines that drive a robot's joint, log the flight, and fit one effect of it at once."""
