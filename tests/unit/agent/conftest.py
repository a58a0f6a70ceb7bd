from tests.unit.host import clock, events, host, make_reconciler, signals, sigterm_soon

__all__ = ["clock", "events", "host", "make_reconciler", "signals", "sigterm_soon"]
