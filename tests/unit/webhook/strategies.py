"""Pods and namespaces for tests of properties: valid ones, invalid ones, and those between."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.unit.webhook.builders import pod
from webhook.limits import MAX_LIMIT
from webhook.snapshot import ClusterNetworks, Namespace

NAMES = ("weave", "canal", "Flannel.v2", "x")
WORLD = ClusterNetworks(known=frozenset(NAMES), present=frozenset(NAMES))

blanks = st.sampled_from(["", " ", "\t ", "\n", "\r\n"])
interfaces = st.sampled_from(
    ["", "@eth0", "@net1", " @ eth1", "@eth0 ", "@lo", "@all", "@", "@a/b"]
)
items = st.builds(
    "{}{}{}{}".format,
    blanks,
    st.sampled_from([*NAMES, "wave", "", "a/b", "-x", "é"]),
    interfaces,
    blanks,
)
values = st.lists(items, max_size=18).map(",".join) | st.text(max_size=40)
other_annotations = st.dictionaries(
    st.sampled_from(["a", "b/c", "CNI"]), st.text(max_size=5), max_size=3
)
expressions = st.lists(
    st.fixed_dictionaries({"key": st.sampled_from(["disk", "zone"]), "operator": st.just("Exists")})
    | st.fixed_dictionaries(
        {
            "key": st.sampled_from([f"network.cni-genie.io/{name}" for name in ("weave", "canal")]),
            "operator": st.just("In"),
            "values": st.just(["true"]),
        }
    ),
    max_size=2,
)
terms = st.fixed_dictionaries(
    {}, optional={"matchExpressions": expressions, "matchFields": expressions}
)
affinities = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "podAffinity": st.just({"a": []}),
        "nodeAffinity": st.fixed_dictionaries(
            {},
            optional={
                "requiredDuringSchedulingIgnoredDuringExecution": st.fixed_dictionaries(
                    {"nodeSelectorTerms": st.lists(terms, min_size=1, max_size=3)}
                ),
                "preferredDuringSchedulingIgnoredDuringExecution": st.just([]),
            },
        ),
    },
)
modes = st.sampled_from(["required", "preferred", "off"])


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    value = draw(st.none() | values)
    others = draw(st.none() | other_annotations)
    about = None if value is None and others is None else dict(others or {})
    if value is not None and about is not None:
        about["cni"] = value
    affinity = draw(affinities)
    return pod(
        metadata={} if about is None else {"annotations": about},
        spec={
            **({} if affinity is None else {"affinity": affinity}),
            **draw(st.sampled_from([{}, {}, {"nodeName": "n1"}])),
        },
    )


limits = st.none() | st.integers(1, MAX_LIMIT)
namespaces = st.builds(
    Namespace,
    name=st.just("team-a"),
    default=st.sampled_from(["", "weave", " weave ,\n canal@net1\n", "wave", "a/b"]),
    allowed=st.none() | st.just(("weave", "canal")),
    scheduling=st.sampled_from(["", "required", "preferred", "off"]),
    max_attachments=limits,
    max_per_network=limits,
    choose=st.sampled_from(["", "weave", " canal,\tweave", "wave"]),
    is_choice=st.sampled_from([False]),  # only webhook.network_choice sets these two
    choice_warning=st.just(""),
)
