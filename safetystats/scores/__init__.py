"""Floor 2: closed-form numbers: capability scores, correlations and resampling intervals."""
