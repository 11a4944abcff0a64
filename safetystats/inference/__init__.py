"""Floor 3: the only floor that fits: factor graph, cut posterior, mixed models, sampling, saved fits."""
