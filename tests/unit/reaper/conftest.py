from tests.unit.host import clock, host, node, said, signals, sigterm_soon

__all__ = ["clock", "host", "node", "said", "signals", "sigterm_soon"]
