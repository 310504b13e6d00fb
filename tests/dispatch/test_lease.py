"""The lease, by a clock that goes on while the machine is suspended."""

from __future__ import annotations

import time

import pytest

from gateway.dispatch.lease import Lease, clock_s


def test_a_lease_runs_out_in_a_suspended_machine() -> None:
    """Whoever wakes may not send what others have taken over, before he has asked the database."""
    slept_s = 0.0
    lease = Lease(15.0, clock=lambda: 100.0 + slept_s, granted_at=100.0)
    assert lease.covers(10.0)
    slept_s = 3600.0
    assert not lease.covers(0.0)
    lease.renewed(lease.now())
    assert lease.covers(10.0) and lease.left_s() == 15.0


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that tells of it")
def test_the_clock_of_a_lease_goes_on_in_a_suspended_machine() -> None:
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    now_s = clock_s()
    assert before_s <= now_s <= time.clock_gettime(time.CLOCK_BOOTTIME)
