"""How often and how fast powder patterns with known cells are indexed: `python -m benchmarks.indexing`."""
