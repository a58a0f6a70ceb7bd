from tests.unit.host import clock, events, host, make_reconciler

__all__ = ["clock", "events", "host", "make_reconciler"]
