"""Demonstrations: pictures, readings and actions of a real robot, for a student to learn from.

`flight_frames` and `lerobot_frames` read recordings into the memory-mapped arrays of `dataset`;
`recovered_actions` turns commands back into a policy's actions, `frame_checks` refuses what cannot
be right, `compositing` puts other things behind or over real pictures, `batches` draws from them.
"""
