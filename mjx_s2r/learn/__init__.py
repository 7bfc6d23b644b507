"""Learning: networks, rollout, PPO for the teacher, distillation for the camera student."""
