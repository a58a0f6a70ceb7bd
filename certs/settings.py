"""The settings of this package: names, and times in seconds.

Read from the environment (``GENIE_CERTS_…``) or given by the caller. Each default says why.
Tests of whole rotations shorten the times; nothing else in the package knows an interval.

Services call :func:`load`, which says in one line what is wrong with a value.
"""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations when the module runs
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from certs.tls_context import read_client_ca
from dispatcher.annotation import closest_name, quote
from dispatcher.kube.settings import InvalidSettingsError, explain

DAY = 86_400.0

LONGEST = 10 * 365 * DAY
"""The most that any of the times may be: beyond it a calendar comes to its end."""

PREFIX = "GENIE_CERTS_"


class CertificateSettings(BaseSettings):
    """How the serving certificates are made, renewed and published."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    service: str = "genie-webhook"
    """Name of the Service through which the API server calls the webhook."""

    namespace: str = "genie-system"
    """Namespace of that Service, and of the Secret."""

    secret: str = "genie-webhook-ca"  # noqa: S105 - a name, not a secret
    """Name of the Secret with the CA."""

    label: str = "cni-genie.io/webhook=true"
    """Label selector of the webhook configurations whose caBundle is ours to write."""

    ca_lifetime: float = Field(30 * DAY, gt=0, le=LONGEST)
    """Life of a CA. Short, so that a rotation is routine and not the event of a decade."""

    leaf_lifetime: float = Field(7 * DAY, gt=0, le=LONGEST)
    """Life of a leaf: bounds how long the old CA stays trusted after a rotation, and at a third
    left to go still covers a weekend without an API server."""

    renew_fraction: float = Field(2 / 3, gt=0, lt=1)
    """Part of its life after which a CA or leaf is renewed: what cert-manager and kubelet do. A
    third of the life remains for trying again."""

    jitter: float = Field(0.1, ge=0, lt=0.5)
    """Leaves are renewed up to this part of their life earlier, at random, so that replicas that
    started together do not renew together."""

    backdating: float = Field(300, ge=0, le=LONGEST)
    """How far before their making certificates are valid: clocks of API servers differ, and
    Kubernetes' own certificates allow the same five minutes."""

    propagation: float = Field(60, ge=0, le=LONGEST)
    """How long every configuration must have been seen to hold a CA before a leaf of it is served:
    each API server reads configurations from a watch of its own, which may lag. A broken watch is
    noticed and resumed in well under a minute."""

    retire_margin: float = Field(3600, ge=0, le=LONGEST)
    """How long a retired CA is trusted beyond the life of the last leaf that it may have signed:
    covers a replica that was suspended between reading the Secret and signing."""

    resync: float = Field(15, gt=0, le=LONGEST)
    """Everything is read again this often, whether a watch reported a change or not: a lost event
    costs seconds. Three small reads a replica."""

    restore_grace: float = Field(5, ge=0, le=LONGEST)
    """A starting replica that finds no Secret, but CAs of ours in the bundles, gives the others
    this long to restore the Secret from memory before it makes a new CA."""

    self_check: float = Field(60, gt=0, le=LONGEST)
    """Time between dials to the replica's own listener, while they succeed."""

    listen_address: str = "localhost"
    """Where the replica's own listener answers, for that dial."""

    listen_port: int = Field(8443, gt=0, lt=65536)
    """Port of that listener."""

    service_port: int = Field(443, gt=0, lt=65536)
    """Port of the Service, for the dial through it."""

    directory: Path | None = None
    """Folder with ``tls.crt``, ``tls.key`` and perhaps ``ca.crt`` to use instead of the Secret:
    a Secret mounted as a volume, for example cert-manager's."""

    client_ca: Path | None = None
    """File with the CA of the API servers' client certificates: every other client is refused. Off
    by default, because API servers present one only if they are told to."""

    write_bundles: bool = True
    """Whether caBundle is ours to write. False where something else does: cert-manager."""

    @property
    def dns_name(self) -> str:
        """The name under which the API server calls the Service, and the one in each leaf."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def last_part(self) -> float:
        """A tenth of a leaf's life, in seconds: with so little left, waiting is over.

        Late, because of a leaf that is made without having asked the API server which CA signs,
        or before all API servers can have learnt it, one may not be sure.
        """
        return self.leaf_lifetime / 10

    @field_validator("client_ca")
    @classmethod
    def _client_ca_loads(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_client_ca(path)
        return path

    @model_validator(mode="after")
    def _renewal_lies_ahead(self) -> Self:
        """Refuse a jitter by which a leaf is due for renewal before it is made."""
        if self.jitter >= self.renew_fraction:
            raise ValueError(
                f"setting {_variable('jitter')}: {self.jitter:g} is too much: it must be less than "
                f"{_variable('renew_fraction')}, {self.renew_fraction:g}"
            )
        return self

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        """Refuse times by which a CA is due for renewal while its predecessor is being retired."""
        overlap = self.propagation + self.leaf_lifetime + self.retire_margin
        if self.ca_lifetime * self.renew_fraction <= overlap:
            raise ValueError(
                f"setting {_variable('ca_lifetime')}: {self.ca_lifetime:g} s are too few: "
                f"{self.renew_fraction:.0%} of it must be longer than "
                f"{_variable('propagation')} + {_variable('leaf_lifetime')} + "
                f"{_variable('retire_margin')}, {overlap:g} s together"
            )
        return self


def load(**given: Any) -> CertificateSettings:
    """Return the settings: those *given*, then the environment's.

    Raises :class:`InvalidSettingsError` for a bad value, and for a variable that is none of ours: a
    misspelt one would be ignored in silence.
    """
    fields = CertificateSettings.model_fields
    for name in sorted(os.environ):
        field = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX) and field not in fields:
            meant = closest_name(field, fields)
            listed = ", ".join(map(_variable, fields))
            hint = f"did you mean {_variable(meant)}?" if meant else f"there are {listed}"
            raise InvalidSettingsError(f"variable {quote(name)} is no setting; {hint}")
    try:
        return CertificateSettings(**given)
    except ValidationError as error:
        raise explain(error, _variable) from None


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"
