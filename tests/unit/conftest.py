"""What the unit tests share: the property tests have no time limit for an example."""

from __future__ import annotations

from hypothesis import settings

# On a busy machine an example of 1 ms may take a second. In CI (`CI=true`) it is as hypothesis's
# own profile for that, which this one goes on from.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
