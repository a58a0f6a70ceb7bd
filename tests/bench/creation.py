"""``python -m tests.bench.creation``: measure what admission adds to the creation of a pod.

A control plane without nodes has one namespace for each part of admission: each policy alone, the
webhook alone, all of them, and none. A part applies to the pods of its own namespace only. Each
round creates the same pod in every namespace, in random order, by one client over one connection.
What counts is the difference to the namespace without Genie in the same round, because both see the
same machine at nearly one moment.

Three namespaces show what Genie cannot go below. One has no part of Genie, too: its difference is
the noise of the machine. One has a policy whose only condition is false. And one has the webhook in
Go of :mod:`tests.bench.webhook`, called for the pod with networks. Nearly all of their difference
is what the API server does for any policy, and for any webhook.

Two pods are measured: one that names two networks, to which the webhook adds affinity, and a plain
one, with an annotation of another program, of which Genie wants nothing. The webhook is a process
of this machine.

``--profile SECONDS`` shows which work of the API server it is (:mod:`tests.bench.api_profile`).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import functools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trustme

from tests.bench import api_profile, page, reviews
from tests.bench.webhook_processes import peer
from tests.cluster.support.admission import api, make_spaces, own_cluster
from tests.cluster.support.outside_webhook import running_webhook
from tests.devcluster.commands import ClusterError, step
from tests.devcluster.helm import PLAIN, render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dispatcher.kube.client import Kube
    from tests.bench.api_profile import Profile
    from tests.devcluster.cluster import Cluster

    Objects = list[dict[str, Any]]
    Times = dict[str, list[float]]

LABEL = "bench-creation"
NONE, NOISE = "none", "nothing: a second namespace without Genie"
ALL, WEBHOOK, IN_GO = "all", "webhook", "a webhook in Go"
SMALLEST = "a policy whose condition is `false`"
ENFORCING = "all, in the mode enforce"
PLAIN_POD, NETWORKS_POD = "plain pod", "pod with two networks"
PODS = {PLAIN_POD: {"prometheus.io/scrape": "true"}, NETWORKS_POD: {"cni": "net1,net2"}}


class Aim(NamedTuple):
    """The most that all of Genie may add to a pod, in milliseconds; None without an aim."""

    median: float
    p99: float | None


AIMS = {PLAIN_POD: Aim(0.2, None), NETWORKS_POD: Aim(2.0, 6.0)}

AIMED_CREATION = 2.61
"""Milliseconds that a creation without Genie took on the machine for which the aims were set."""

WARM_UP = 30
"""First rounds, which do not count: connections are opened and expressions compiled."""

SETTLING = 5.0
"""Seconds for the API server to load policies and webhook configurations."""


def main() -> int:
    """Measure on a cluster of its own, and write the part of docs/performance.md."""
    parser = argparse.ArgumentParser(description="Measure what admission adds to a pod's creation.")
    parser.add_argument(
        "--rounds", type=int, default=1000, help="creations of each sort (default: %(default)s)"
    )
    parser.add_argument(
        "--profile",
        type=int,
        metavar="SECONDS",
        help="instead of times, show from so long a profile which work the API server does",
    )
    chosen = parser.parse_args()
    try:
        with (
            own_cluster("bench-creation") as cluster,
            running_webhook(cluster, GENIE_NETWORKS="net1,net2"),
        ):
            if chosen.profile:
                name, figures = "creation profile", _profile(cluster, chosen.profile)
            else:
                with _webhook_in_go(cluster.layout.host_ipv4) as in_go:
                    name, figures = "creation", _measure(cluster, chosen.rounds, in_go)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(figures)
    page.show(name, figures)
    return 0


@contextlib.contextmanager
def _webhook_in_go(address: str) -> Iterator[dict[str, Any]]:
    """Run the webhook in Go on *address*; yield where the API server reaches it."""
    authority = trustme.CA()
    leaf = authority.issue_cert(address)
    bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
    with tempfile.TemporaryDirectory() as folder:
        leaf.private_key_and_cert_chain_pem.write_to_path(f"{folder}/leaf.pem")
        with peer(Path(folder), address=address) as (_, port):
            yield {"url": f"https://{address}:{port}/pods", "caBundle": bundle}


def _measure(cluster: Cluster, rounds: int, in_go: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    parts = _parts(cluster, in_go)
    _remove(cluster)
    names = _apply(cluster, parts)

    kube = api(cluster)
    load = os.getloadavg()[0]
    times: dict[str, Times] = {}
    for name, own in PODS.items():
        with step(f"{rounds} rounds of {len(names)} creations: {name}"):
            times[name] = _times(kube, names, _pod(own), rounds)
    return _table(times, rounds, load)


def _profile(cluster: Cluster, seconds: int) -> str:
    """Return the shares of the API server's work as Markdown: with all of Genie, and without."""
    make_spaces(cluster, {LABEL: {}})
    kube = api(cluster)
    profiles: dict[str, Profile] = {}
    for part in (ALL, NONE):
        if part == NONE:
            _remove(cluster)
            time.sleep(SETTLING)
        for pod, own in PODS.items():
            create = functools.partial(kube.create, f"/api/v1/namespaces/{LABEL}/pods", _pod(own))
            file = cluster.layout.state / f"{part} {pod}.pb"
            with step(f"profile of {seconds} s: {pod}, {part}"):
                profiles[f"{pod}, {part}"] = api_profile.take(cluster, kube, file, seconds, create)
    machine = f"{os.cpu_count()} processors; load average {os.getloadavg()[0]:.1f}"
    return f"{api_profile.table(profiles)}\n\n- {seconds} s each; {machine}."


def _remove(cluster: Cluster) -> None:
    """Remove what lets the API server evaluate policies and call the webhook."""
    for kind in ("validatingadmissionpolicybinding", "mutatingwebhookconfiguration"):
        cluster.kubectl("delete", kind, "--all")


def _parts(cluster: Cluster, in_go: dict[str, Any]) -> dict[str, Objects]:
    """Return the objects of each part: policies, and the entries of the webhook for pods."""
    default, enforcing = (
        list(_policies(render({**PLAIN, "attachmentDefinitions": {"mode": mode}})))
        for mode in ("off", "enforce")
    )
    webhook = _entries(cluster)
    pods = next(each for each in webhook["webhooks"] if each["name"] == "pods.cni-genie.io")
    alone = {each["metadata"]["name"]: [each] for each in [*enforcing, *default]}
    return {
        NONE: [],
        NOISE: [],
        SMALLEST: [_smallest(default[0])],
        **{name: alone[name] for name in sorted(alone)},
        WEBHOOK: [webhook],
        IN_GO: [{**webhook, "webhooks": [{**pods, "clientConfig": in_go}]}],
        ALL: [*default, webhook],
        ENFORCING: [*enforcing, webhook],
    }


def _smallest(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy for the same requests as *policy* that tests nothing."""
    spec = {
        "matchConstraints": policy["spec"]["matchConstraints"],
        "matchConditions": [{"name": "never", "expression": "false"}],
        "validations": [{"expression": "true"}],
    }
    return {**policy, "metadata": {"name": "smallest"}, "spec": spec}


def _policies(objects: Objects) -> Iterator[dict[str, Any]]:
    """Yield the policies that the API server evaluates when a pod is created."""
    for each in objects:
        if each["kind"] == "ValidatingAdmissionPolicy":
            rules = each["spec"]["matchConstraints"]["resourceRules"]
            if any("pods" in one["resources"] and "CREATE" in one["operations"] for one in rules):
                yield each


def _entries(cluster: Cluster) -> dict[str, Any]:
    """Return the webhook's entries for new pods, with the caBundle that the webhook wrote."""
    found = cluster.get("mutatingwebhookconfiguration", "cni-genie")
    names = {"pods.cni-genie.io", "defaults.cni-genie.io"}
    entries = [each for each in found["webhooks"] if each["name"] in names]
    return {"apiVersion": found["apiVersion"], "kind": found["kind"], "webhooks": entries}


def _apply(cluster: Cluster, parts: Mapping[str, Objects]) -> dict[str, str]:
    """Apply each part to a namespace of its own; return the namespace of each part."""
    names = {part: f"bench-{number}" for number, part in enumerate(parts)}
    items = [
        one for part, each in parts.items() for item in each for one in _limited(item, names[part])
    ]
    objects = {"apiVersion": "v1", "kind": "List", "items": items}
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(objects))
    make_spaces(cluster, {name: {} for name in names.values()})
    for name in names.values():
        cluster.kubectl("label", "namespace", name, f"{LABEL}={name}")
    time.sleep(SETTLING)
    return names


def _limited(item: dict[str, Any], namespace: str) -> Iterator[dict[str, Any]]:
    """Yield a copy of *item* for *namespace* alone, and the binding of a policy."""
    own = copy.deepcopy(item)
    requirement = {"key": LABEL, "operator": "In", "values": [namespace]}
    name = f"{item.get('metadata', {}).get('name', 'cni-genie')}-{namespace}"
    own["metadata"] = {"name": name}
    for one in own.get("webhooks", ()):
        one["namespaceSelector"]["matchExpressions"].append(requirement)
    yield own
    if "webhooks" not in own:
        spaces = {"namespaceSelector": {"matchExpressions": [requirement]}}
        spec = {"policyName": name, "matchResources": spaces, "validationActions": ["Deny"]}
        yield {
            "apiVersion": own["apiVersion"],
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": spec,
        }


def _pod(annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return an ordinary pod, of 2.5 KB, that is never scheduled."""
    body = reviews.pod(dict(annotations))
    for key in ("namespace", "ownerReferences", "managedFields"):
        del body["metadata"][key]
    account = {"serviceAccountName": "default", "serviceAccount": "default"}
    body["spec"].update(account, schedulerName="none")
    return body


def _times(kube: Kube, names: Mapping[str, str], body: Mapping[str, Any], rounds: int) -> Times:
    """Return the milliseconds of each round, for each part."""
    times: Times = {part: [] for part in names}
    order = list(names)
    chance = random.Random(0)  # noqa: S311 - an order
    for _ in range(WARM_UP + rounds):
        chance.shuffle(order)  # no part always follows the same one, whose work may not have ended
        for part in order:
            started = time.perf_counter()
            stored = kube.create(f"/api/v1/namespaces/{names[part]}/pods", body)
            times[part].append((time.perf_counter() - started) * 1000)
            _check(part, body, stored)
    for name in names.values():
        kube.delete(f"/api/v1/namespaces/{name}/pods?gracePeriodSeconds=0", timeout=120)
    return {part: each[WARM_UP:] for part, each in times.items()}


def _check(part: str, body: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Raise AssertionError unless the webhook was called exactly where it must be."""
    expected = part in {WEBHOOK, IN_GO, ALL, ENFORCING} and "cni" in body["metadata"]["annotations"]
    assert ("affinity" in stored["spec"]) is expected, (part, stored["metadata"])


def _table(times: Mapping[str, Times], rounds: int, load: float) -> str:
    heads = [f"{name}: {what}" for name in times for what in ("median", "p99")]
    machine = f"all of Kubernetes on {os.cpu_count()} processors; load average {load:.1f}"
    return "\n".join(
        [
            f"| one creation, ms | {' | '.join(heads)} |",
            f"|---|{'---|' * len(heads)}",
            *(_row(part, times) for part in next(iter(times.values()))),
            "",
            *_verdicts(times),
            f"- {rounds} rounds; {machine}.",
        ]
    )


def _row(part: str, times: Mapping[str, Times]) -> str:
    """Return the whole time without Genie, and what *part* adds to it."""
    if part == NONE:
        title = "without Genie"
        cells = [text for each in times.values() for text in _cells(each[NONE])]
    else:
        title = f"added by {f'`{part}`' if part.startswith('cni-genie') else part}"
        cells = [text for each in times.values() for text in _cells(_added(each, part))]
    return f"| {title} | {' | '.join(cells)} |"


def _cells(values: list[float]) -> list[str]:
    return [f"{statistics.median(values):.2f}", f"{_p99(values):.2f}"]


def _added(times: Mapping[str, list[float]], part: str) -> list[float]:
    """Return the milliseconds that *part* added in each round."""
    return [ours - bare for ours, bare in zip(times[part], times[NONE], strict=True)]


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _verdicts(times: Mapping[str, Times]) -> Iterable[str]:
    for name, aim in AIMS.items():
        values = _added(times[name], ALL)
        met = statistics.median(values) <= aim.median
        text = f"at most {aim.median:g} ms in the median"
        if aim.p99 is not None:
            met = met and _p99(values) <= aim.p99
            text += f" and {aim.p99:g} ms for 99 of 100"
        yield f"- Aim for a {name}: {text} added by all; met: {'yes' if met else 'no'}."

    yield f"- Where the aims were set, a creation without Genie took {AIMED_CREATION:g} ms."
    yield f"- In parts of a creation without Genie: {_parts_of_a_creation(times)}."


def _parts_of_a_creation(times: Mapping[str, Times]) -> str:
    """Return what all of Genie adds to each pod, and the aim, divided by a creation without."""
    parts = []
    for name, aim in AIMS.items():
        added = statistics.median(_added(times[name], ALL)) / statistics.median(times[name][NONE])
        parts.append(f"{name} {added:.3f} (aim {aim.median / AIMED_CREATION:.3f})")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
