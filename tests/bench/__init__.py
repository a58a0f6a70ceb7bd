"""Benchmarks: figures and charts for docs/performance.md, by ``make bench``."""
