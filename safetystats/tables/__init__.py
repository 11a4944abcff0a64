"""Floor 1: a checked table of scores (models by benchmarks), how it is read, prepared, audited and simulated."""
