"""The setting ``mode``: the steps of installing and uninstalling Genie on a node."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """What agent and reaper do on their node; the values are those of the setting."""

    INSTALL = "install"
    DISABLE = "disable"
    REMOVE = "remove"
    REMOVE_FORCE = "remove --force"

    @property
    def offers_choice(self) -> bool:
        """Whether new pods get the networks that they name, or else the default network only."""
        return self is Mode.INSTALL

    @property
    def is_leaving(self) -> bool:
        """Whether plugin and conflist are to leave the node."""
        return self in {Mode.REMOVE, Mode.REMOVE_FORCE}

    @property
    def is_forced(self) -> bool:
        """Whether pods lose networks that only Genie could release later."""
        return self is Mode.REMOVE_FORCE
