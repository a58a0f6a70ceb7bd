from tests.unit.host import clock, host, node, said

__all__ = ["clock", "host", "node", "said"]
