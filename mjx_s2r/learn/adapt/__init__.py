"""Adaptation of a student to another domain: real pictures beside simulated ones."""
