"""How long to wait before another try."""

import random
import time
from datetime import timedelta

from downlink.errors import DownlinkError

FIRST_DELAY_SECONDS = 0.05
LAST_DELAY_SECONDS = 2.0


class Patience:
    """Waits that double, each shortened at random by up to half, until nothing has worked for too long."""

    def __init__(self, retry_for_seconds: float) -> None:
        self._retry_for_seconds = retry_for_seconds
        self.succeeded()

    def succeeded(self) -> None:
        """Begins with short waits again."""
        self._step = FIRST_DELAY_SECONDS
        self._stalled_since: float | None = None

    def delay_seconds(self, error: DownlinkError, *, is_mended: bool = False) -> float:
        """How long to wait before the next try, at least as long as the server asked for.

        Raises the error where no other try is to be made: after too long, or when it is neither retryable nor mended by
        how the next try is made.
        """
        now = time.monotonic()
        if self._stalled_since is None:
            self._stalled_since = now
        left = self._stalled_since + self._retry_for_seconds - now
        if not (error.is_retryable or is_mended) or left <= 0:
            raise error
        asked_for = error.retry_after or timedelta()
        delay = max(self._step * random.uniform(0.5, 1), asked_for.total_seconds())
        self._step = min(self._step * 2, LAST_DELAY_SECONDS)
        return min(delay, left)
