"""Curricula: schedules of the ranges that the parameter table is drawn from."""
