"""Learning: networks, rollout, one trainer; PPO and distillation are its algorithms."""
