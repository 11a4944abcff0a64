"""Statistics for the entanglement of AI-safety benchmarks with capability, with uncertainty."""

__version__ = "0.1.0"
