"""The API server's profile of itself: which of its work a request costs.

The API server serves a profile (``/debug/pprof/profile``), which ``go tool pprof`` reads: in which
share of the samples it was in a function, or in one that the function called. Shares are
comparable on a busy machine, where times are not. So is the memory that a request allocates, for
which the collector takes its share later.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from tests.devcluster.commands import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

_PLUGIN = "k8s.io/apiserver/pkg/admission/plugin"
WORK = {
    "policies": f"{_PLUGIN}/policy/validating.(*dispatcher).Dispatch",
    "mutating webhooks": f"{_PLUGIN}/webhook/mutating.(*mutatingDispatcher).Dispatch",
    "… whether to call": f"{_PLUGIN}/webhook/generic.(*Webhook).ShouldCallHook",
    "… the call and its patch": (
        f"{_PLUGIN}/webhook/mutating.(*mutatingDispatcher).callAttrMutatingHook"
    ),
    "of both: evaluate expressions": f"{_PLUGIN}/cel.(*evaluationActivation).Evaluate",
    "of both: prepare an evaluation": f"{_PLUGIN}/cel.newActivation",
    "of both: convert the pod": "k8s.io/apiserver/pkg/admission.NewVersionedAttributes",
    "of policies: read selectors of namespaces": (
        f"{_PLUGIN}/policy/generic.(*matchCriteria).GetParsedNamespaceSelector"
    ),
    "collect unused memory": "runtime.gcBgMarkWorker",
}
"""Work of the API server, and the function that does it."""

_LINE = re.compile(r"^(?:\s*\S+){4}\s+([\d.]+)%\s+(\S+)", re.MULTILINE)


class Profile(NamedTuple):
    """What a profile shows of requests of one kind."""

    shares: Mapping[str, float]
    """By function: percent of the samples."""

    requests: int
    kib: float
    """Allocated for each."""


def take(
    cluster: Cluster, kube: Kube, file: Path, seconds: int, request: Callable[[], object]
) -> Profile:
    """Profile the API server into *file* for *seconds*, while *request* is called all the time."""
    path = f"/debug/pprof/profile?seconds={seconds}"
    environment = {**os.environ, **cluster.environment}
    before, requests = _allocated(kube), 0
    with (
        file.open("wb") as output,
        subprocess.Popen(
            [cluster.program, "get", "--raw", path], stdout=output, env=environment
        ) as process,
    ):
        while process.poll() is None:
            request()
            requests += 1
    kib = (_allocated(kube) - before) / requests / 1024

    every = ("-top", "-cum", "-nodecount=100000", "-nodefraction=0", "-edgefraction=0")
    return Profile(shares(run(["go", "tool", "pprof", *every, file]).stdout), requests, kib)


def shares(top: str) -> dict[str, float]:
    """Return the percentage of each function in the output of ``go tool pprof -top -cum``."""
    return {name: float(share) for share, name in _LINE.findall(top)}


def table(profiles: Mapping[str, Profile]) -> str:
    """Return the work in each profile as Markdown, by the profile's name."""
    values = profiles.values()
    rows = [
        [work, *(f"{each.shares.get(function, 0):.1f}" for each in values)]
        for work, function in WORK.items()
    ]
    rows.append(["KiB allocated for each request", *(f"{each.kib:.0f}" for each in values)])
    rows.append(["requests", *(str(each.requests) for each in values)])
    heads = ["% of the API server's processor time", *profiles]
    lines = [f"| {' | '.join(row)} |" for row in [heads, *rows]]
    return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]])


def _allocated(kube: Kube) -> float:
    """Return the bytes that the API server has allocated since its start."""
    text = kube.get_text("/metrics")
    [value] = re.findall(r"^go_memstats_alloc_bytes_total (\S+)$", text, re.MULTILINE)
    return float(value)
