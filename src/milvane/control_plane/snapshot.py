"""All that calls need to know of the control plane, as it was at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from milvane.domain.control import AddedInstance, ApiKey, Quota, QuotaKind, QuotaSubject, Scope
from milvane.domain.errors import PermissionDenied


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is offered, to whom, and who holds which key."""

    revision: int = 0
    enabled: frozenset[str] = frozenset()
    """Models whose service is enabled in this server's region."""
    offered: frozenset[str] = frozenset()
    """Models that have a service there at all."""
    bound: frozenset[tuple[str, str]] = frozenset()
    """Instances, each with a model that it may use."""
    keys: Mapping[str, ApiKey] = field(default_factory=dict)
    """By the digest of the secret."""
    quotas: Sequence[Quota] = ()
    added: Sequence[AddedInstance] = ()
    """Instances that are served here, beside those of the settings."""
    unloaded: frozenset[str] = frozenset()
    """Weights that are not to be kept in memory."""

    def check_service(self, model: str, instance: str) -> None:
        """
        Let a model be used; by an instance, if one is named.

        Raises:
            PermissionDenied: If its service is not enabled, or the instance has no association.
        """
        if model not in self.offered:
            return  # nothing that an operator could enable: a provider's own model
        if model not in self.enabled:
            raise PermissionDenied(
                f"the embedding service of {model} is not enabled: "
                f"an operator can run `milvane services enable {model}`"
            )
        if instance and (instance, model) not in self.bound:
            raise PermissionDenied(
                f"the instance {instance!r} is not associated with the embedding service of "
                f"{model}: an operator can run `milvane associations bind {model} {instance}`"
            )

    def find_key(self, digest: str, scope: Scope, now: datetime) -> ApiKey | None:
        """Find the key of a secret, if it is good for something at this time."""
        key = self.keys.get(digest)
        return key if key is not None and key.opens(scope, now) else None


def subjects_of(caller: str, tenant: str, instance: str, model: str) -> tuple[QuotaSubject, ...]:
    """List whom a call is counted on."""
    subjects = [QuotaSubject(QuotaKind.KEY, caller), QuotaSubject(QuotaKind.TENANT, tenant)]
    if instance:
        subjects.append(QuotaSubject(QuotaKind.ASSOCIATION, f"{instance}/{model}"))
    return tuple(subjects)
