"""The model room of the parameter table: rows to MuJoCo model fields, checked before training."""
