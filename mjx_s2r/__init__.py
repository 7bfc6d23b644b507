"""mjx_s2r takes a MuJoCo robot from simulation to the robot.

One table of parameters (`params`) drives everything. A map, in the order of the flow:

    params      the table: what may differ between simulation and reality     [no jax]
    contract    what a policy reads and writes, in order, with units          [no jax]
    sim         table -> MJX model leaves; physics, actuators, sensors, reset and step
    render      a ray caster in pure JAX, the look of each world, what a real camera does
    curriculum  which part of the table is drawn: init, sample, update
    learn       networks, rollout, PPO teacher, distillation into the camera student
    export      policy -> one ONNX file with its contract inside
    robot       driver, safety, controller, flight log                        [no jax]
    transfer    logs -> parameters, evaluation, the gap and its report
    runs        one folder per run: config, checkpoints, metrics
    config      frozen settings to and from JSON
    devices     compiler switches, compile cache, placement on several devices

Import what you need from where it lives, e.g. `from mjx_s2r.params.space import Param`.
"""
