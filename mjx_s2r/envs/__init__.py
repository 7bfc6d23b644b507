"""Tasks, one file each: the model, the parameter table, the contract, start, reward and success."""
