"""What can be wrong with a request to the store, beside what goes wrong anywhere."""

from __future__ import annotations

from milvane.domain.errors import InvalidInput, NotFound, PermissionDenied


class BadBucketName(InvalidInput):
    """No bucket can have this name."""


class BadObjectName(InvalidInput):
    """No object can have this name."""


class BadDigest(InvalidInput):
    """The content is not the one that its sender has the digest of."""


class BadArgument(InvalidInput):
    """A header or a parameter cannot be understood."""


class NotOffered(InvalidInput):
    """Object stores can do this, and this one does not."""


class NoSuchObject(NotFound):
    """The bucket has no object of this name."""


class UnknownAccessKey(PermissionDenied):
    """There is no such access key, or it is good no more."""


class SignatureMismatch(PermissionDenied):
    """The signature is not that of this request and this key."""


class ClockSkewed(PermissionDenied):
    """The request was signed at another time than now."""


class AddressExpired(PermissionDenied):
    """The time of a signed address is over, or was never allowed."""
