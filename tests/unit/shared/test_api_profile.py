"""The shares of the API server's work are read from what ``go tool pprof`` prints."""

from __future__ import annotations

from tests.bench import api_profile
from tests.bench.api_profile import WORK, Profile

POLICIES = WORK["policies"]
TOP = f"""\
File: kube-apiserver
Type: cpu
Duration: 14s, Total samples = 7.28s (52.00%)
Showing nodes accounting for 7.25s, 99.6% of 7.28s total
      flat  flat%   sum%        cum   cum%
         0     0%     0%      1.47s 20.19%  runtime.gcBgMarkWorker
     0.01s  0.14%  0.14%      0.19s  2.61%  {POLICIES}
     0.21s  2.88%  3.02%      0.21s  2.88%  generic.(*Plugin[go.shape.struct {{ P *v1 }}]).Run
"""


def test_a_share_is_that_of_a_function_and_of_what_it_calls() -> None:
    """The column cum%, not flat%; lines above the table have none."""
    shares = api_profile.shares(TOP)
    assert shares["runtime.gcBgMarkWorker"] == 20.19
    assert shares[POLICIES] == 2.61
    assert len(shares) == 3


def test_work_that_was_never_seen_has_a_share_of_zero() -> None:
    """Without a webhook its functions are not in the profile."""
    profile = Profile(api_profile.shares(TOP), 1180, 322.4)
    rows = api_profile.table({"plain pod, none": profile}).splitlines()
    assert rows[0] == "| % of the API server's processor time | plain pod, none |"
    assert "| policies | 2.6 |" in rows
    assert "| mutating webhooks | 0.0 |" in rows
    assert rows[-2:] == ["| KiB allocated for each request | 322 |", "| requests | 1180 |"]
