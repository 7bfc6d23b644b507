"""Tasks of the payoff study, and beside each the robots that it is judged on (NAME.toml)."""
