"""How fast triofuse is, beside its peers: ``python -m tests.benchmarks``."""
