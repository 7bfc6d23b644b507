"""Evaluation of policies: batched in simulation, one episode at a time on a robot."""
