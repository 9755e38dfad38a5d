"""Whether a lease that has passed shows that its owner is gone, or only that everybody was held up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LONGEST_GAP_S: Final = 5.0
"""As long as the database answers this often here, it has answered others who prolong their leases as often."""
LARGEST_STEP_S: Final = 2.0
"""By how much the time of day and the steady clock may run apart between two looks."""
SETTLE_S: Final = 10.0
"""Time for the others to prolong their leases: twice as long as they take between two times."""


class Calm:
    """Notes each time that the database has answered.

    After a pause (the database was away or hung, or this process was stopped) and after the time of day was set, leases
    have passed whose owners are alive and well; so have all that were left before this process began. Owners that live
    prolong theirs within `SETTLE_S`.

    Args:
        clock: the time of day, which leases are written in [s].
        steady: a clock that nobody sets [s].
    """

    def __init__(self, clock: Callable[[], float], steady: Callable[[], float]) -> None:
        self._clock = clock
        self._steady = steady
        self._since_s = self._answered_s = steady()
        self._offset_s = clock() - self._answered_s

    def answered(self) -> bool:
        """Note an answer of the database; whether all has been calm for long enough to believe the leases."""
        now_s = self._steady()
        offset_s = self._clock() - now_s
        if now_s - self._answered_s > LONGEST_GAP_S or abs(offset_s - self._offset_s) > LARGEST_STEP_S:
            self._since_s = now_s
        self._answered_s, self._offset_s = now_s, offset_s
        return now_s - self._since_s >= SETTLE_S
