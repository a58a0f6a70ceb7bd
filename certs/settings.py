"""The settings of this package, from the environment (``GENIE_CERTS_…``) or from the caller.

All times are in seconds. Tests of whole rotations shorten them, so no other module has an interval
of the rotation.
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
"""Upper bound of all times: sums of them must stay within the years that datetime has."""

PREFIX = "GENIE_CERTS_"


class CertificateSettings(BaseSettings):
    """How certificates are issued, renewed and published."""

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
    """Label selector of the webhook configurations whose caBundle Genie writes."""

    ca_lifetime: float = Field(30 * DAY, gt=0, le=LONGEST)
    """Life of a CA. It is short, so that rotations are routine."""

    leaf_lifetime: float = Field(7 * DAY, gt=0, le=LONGEST)
    """Life of a leaf. It bounds how long the old CA is trusted after a rotation. A third of it is
    left at a renewal, and covers a weekend without an API server."""

    renew_fraction: float = Field(2 / 3, gt=0, lt=1)
    """Part of its life after which a CA or leaf is renewed, as by cert-manager and kubelet. A third
    of the life remains for retries."""

    jitter: float = Field(0.1, ge=0, lt=0.5)
    """Leaves are renewed earlier by a random part of their life, up to this one, so that replicas
    that started together do not renew together."""

    backdating: float = Field(300, ge=0, le=LONGEST)
    """Certificates are valid from this time before they are issued, because the clocks of API
    servers differ. Kubernetes' own certificates allow the same five minutes."""

    propagation: float = Field(60, ge=0, le=LONGEST)
    """Time for which every configuration must have held a CA before a leaf of it is served: each
    API server reads configurations from a watch of its own, which may lag. A broken watch is
    detected and resumed in well under a minute."""

    retire_margin: float = Field(3600, ge=0, le=LONGEST)
    """Time for which the old CA is trusted beyond the life of its last leaf. It covers a replica
    that was suspended between reading the Secret and signing."""

    resync: float = Field(15, gt=0, le=LONGEST)
    """Time between reconciliations without a change: a lost watch event then delays a repair by
    seconds only. Each costs three small reads."""

    restore_grace: float = Field(5, ge=0, le=LONGEST)
    """A replica that starts and finds CAs of Genie in the bundles, but no Secret, gives the other
    replicas this time to restore the Secret from memory before it issues a new CA."""

    self_check: float = Field(60, gt=0, le=LONGEST)
    """Time between self-checks of the replica's own listener, while they succeed."""

    listen_address: str = "localhost"
    """Address of the replica's own listener, for the self-check."""

    listen_port: int = Field(8443, gt=0, lt=65536)
    """Port of the replica's own listener, for the self-check."""

    service_port: int = Field(443, gt=0, lt=65536)
    """Port of the Service, for the dial through it (a metric only)."""

    directory: Path | None = None
    """Directory with ``tls.crt``, ``tls.key`` and perhaps ``ca.crt`` to use instead of the Secret
    with the CA: a mounted Secret of cert-manager, for example."""

    client_ca: Path | None = None
    """File with the CA of the API servers' client certificates: every other client is refused. Not
    set by default, because API servers present a certificate only if configured to."""

    write_bundles: bool = True
    """Whether Genie writes caBundle. False where another program does, such as cert-manager."""

    @property
    def dns_name(self) -> str:
        """The name by which the API server calls the Service, and the name in each leaf."""
        return f"{self.service}.{self.namespace}.svc"

    @property
    def last_part(self) -> float:
        """A tenth of a leaf's life, in seconds: with so little left, no replacement waits.

        That is late on purpose: a leaf that is issued while the API server does not answer, or
        before all API servers can have learnt of its CA, may not be trusted.
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
        """Refuse a jitter by which a leaf is due for renewal before it is issued."""
        if self.jitter >= self.renew_fraction:
            raise ValueError(
                f"setting {_variable('jitter')}: {self.jitter:g} is too large; it must be less "
                f"than {_variable('renew_fraction')}, {self.renew_fraction:g}"
            )
        return self

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        """Refuse times by which a CA is due for renewal while its predecessor is being retired."""
        overlap = self.propagation + self.leaf_lifetime + self.retire_margin
        if self.ca_lifetime * self.renew_fraction <= overlap:
            raise ValueError(
                f"setting {_variable('ca_lifetime')}: {self.ca_lifetime:g} s is too short; "
                f"{self.renew_fraction:.0%} of it must be longer than "
                f"{_variable('propagation')} + {_variable('leaf_lifetime')} + "
                f"{_variable('retire_margin')}, {overlap:g} s together"
            )
        return self


def load(**given: Any) -> CertificateSettings:
    """Return the settings: those *given*, then those of the environment.

    Raises :class:`InvalidSettingsError`, with one line that names the value at fault. An unknown
    variable is an error too: otherwise a misspelt one would have no effect.
    """
    fields = CertificateSettings.model_fields
    for name in sorted(os.environ):
        field = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX) and field not in fields:
            meant = closest_name(field, fields)
            listed = ", ".join(map(_variable, fields))
            hint = f"did you mean {_variable(meant)}?" if meant else f"the settings are {listed}"
            raise InvalidSettingsError(f"variable {quote(name)} is not a setting; {hint}")
    try:
        return CertificateSettings(**given)
    except ValidationError as error:
        raise explain(error, _variable) from None


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"
