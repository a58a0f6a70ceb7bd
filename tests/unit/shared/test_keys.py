"""The keys that others read."""

from __future__ import annotations

import re
import string

from hypothesis import given
from hypothesis import strategies as st

from dispatcher import keys
from dispatcher.annotation import is_network_name


@given(st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=64))
def test_every_network_name_makes_a_valid_label_key(name: str) -> None:
    """A name that the grammar takes is one that Kubernetes takes as a label key."""
    valid = re.fullmatch(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]", name) is not None
    assert is_network_name(name) == valid
    assert keys.network_label(name) == f"network.cni-genie.io/{name}"
