"""EAR: the objective, the training loop, the recipes and what they produce."""
