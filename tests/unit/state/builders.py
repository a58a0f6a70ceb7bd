"""Records that hypothesis draws, and others that tests of state share."""

from __future__ import annotations

from hypothesis import strategies as st

from dispatcher.conf import Conf
from dispatcher.state.record import Attachment, Record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FOR_THE_SYSTEM = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)
RESULT = st.fixed_dictionaries(
    {
        "interfaces": st.lists(st.fixed_dictionaries({"name": TEXT}, optional={"mtu": VALUE})),
        "ips": st.lists(st.fixed_dictionaries({"address": TEXT}, optional={"interface": VALUE})),
        "routes": st.lists(st.fixed_dictionaries({"dst": TEXT}, optional={"gw": TEXT})),
        "dns": st.dictionaries(TEXT, VALUE, max_size=2),
    },
    optional={"later": VALUE},
)


LATER = st.fixed_dictionaries({}, optional={"later": VALUE})
"""Keys that a newer version wrote."""


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Draw any record."""
    attachments = []
    for _ in range(draw(st.integers(0, 3))):
        plugins = [{"type": "t", **draw(st.dictionaries(TEXT, VALUE, max_size=2)), "type2": 1}]
        conf = Conf("/f", draw(FOR_THE_SYSTEM), "1.0.0", plugins, disable_gc=draw(st.booleans()))
        attachment = Attachment(
            draw(FOR_THE_SYSTEM),
            draw(FOR_THE_SYSTEM),
            draw(FOR_THE_SYSTEM),
            conf,
            args=draw(FOR_THE_SYSTEM),
            capability_args=draw(st.dictionaries(TEXT, VALUE, max_size=2)),
            is_primary=draw(st.booleans()),
        )
        attachment.phase = draw(
            st.sampled_from(["planned", "attaching", "attached", "releasing", "parked"])
        )
        attachment.result = draw(st.none() | RESULT)
        attachment.failure = draw(st.none() | st.just({"since": 1, "code": 11, "msg": "m"}))
        attachment.default_route = draw(st.lists(st.text(max_size=5), max_size=2))
        attachment.extra = draw(LATER)
        attachments.append(attachment)
    made = Record("c1", draw(FOR_THE_SYSTEM), attachments)
    routes = draw(st.lists(st.binary(min_size=12, max_size=40), max_size=2))
    made.held_routes = [each.hex() for each in routes]
    made.extra = draw(LATER)
    return made
