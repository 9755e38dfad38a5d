"""What trained models add to the solver. Each part may be missing: the solver works without any."""
