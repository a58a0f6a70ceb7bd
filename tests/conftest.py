"""How properties are tested: the same examples each time, so that a failure is the change's.

``pytest --hypothesis-profile=search`` looks for new ones. No example has a deadline: the machine
may be busy with other things.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("search", deadline=None)
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")
