"""Errors of OSS as values of our own.

The SDK's exceptions contain the signed text, the security token included. They are not passed on: an ``OssFailure`` is
made of the error code, the request id and our own text, and the error raised from it has no cause and no context.
"""

from __future__ import annotations

from dataclasses import dataclass

from oss2.exceptions import ClientError, OssError, RequestError

from storage.errors import (
    ForbiddenPath,
    ObjectArchived,
    ObjectCorrupt,
    ObjectMissing,
    Rejected,
    StorageError,
    Unavailable,
)

# These are not errors of the row: with other keys, another clock or another setting the same request succeeds.
KEYS_REFUSED = {
    "InvalidAccessKeyId": "the access key is unknown or disabled; check TAMIS_ALIYUN_…",
    "SignatureDoesNotMatch": "the access key's secret, or TAMIS_OSS_REGION, is wrong",
    "InvalidSecurityToken": "the session's token is wrong",
    "SecurityTokenExpired": "the session's token has ended; renew it",
    "RequestTimeTooSkewed": "this machine's clock is over 15 minutes off; set it",
    "UserDisable": "the account is disabled or owes money",
}
RETRIED_STATUS = frozenset({408, 409, 429})
RETRIED_CODES = frozenset({"RequestTimeout", "InvalidDigest", "CallbackFailed"})  # answered with status 400


@dataclass(frozen=True, slots=True)
class OssFailure:
    """A failed request: its error, and whether a repetition can succeed."""

    error: StorageError
    is_retryable: bool = False
    retry_after_seconds: float | None = None  # asked for by the server
    code: str = ""  # the error code of OSS
    is_unexplained_refusal: bool = False  # status 403 without an error code: not necessarily an answer of OSS


def broken(what: str, why: str) -> OssFailure:
    """Describe a reply that is absent or incomplete; it is retried."""
    return OssFailure(Unavailable(f"{what}: {why}"), is_retryable=True)


def damaged(what: str, why: str) -> OssFailure:
    """Describe a reply that contradicts what the store stated; it is not retried."""
    return OssFailure(ObjectCorrupt(f"{what} {why}"))


def failure_of(what: str, error: OssError) -> OssFailure:
    """Translate the SDK's error about ``what``."""
    if isinstance(error, RequestError):
        return broken(what, f"OSS does not answer ({type(error.exception).__name__})")
    if isinstance(error, ClientError):
        return OssFailure(ForbiddenPath(f"{what} is not a name that OSS takes"))
    status, code = int(error.status), str(error.code or "")
    message = f"{what}: OSS answers {status} {code} (request {error.request_id or 'without id'})".replace("  ", " ")
    if status >= 500 or status in RETRIED_STATUS or code in RETRIED_CODES:
        return OssFailure(Unavailable(message), True, _retry_after(error), code)
    is_unexplained = status == 403 and not code
    return OssFailure(_permanent(message, what, status, error), code=code, is_unexplained_refusal=is_unexplained)


def _permanent(message: str, what: str, status: int, error: OssError) -> StorageError:
    code = error.code
    if code in KEYS_REFUSED:
        return Unavailable(f"{message}: {KEYS_REFUSED[code]}")
    if str(error.details.get("ArgumentName", "")).lower() == "authorization":
        return Unavailable(f"{message}: the signature's form is refused; check TAMIS_OSS_REGION and TAMIS_OSS_ENDPOINT")
    if status < 400:
        return Unavailable(f"{message}: OSS redirects; the bucket belongs to another TAMIS_OSS_ENDPOINT")
    return _rejected(message, what, status, code)


def _rejected(message: str, what: str, status: int, code: str) -> StorageError:
    match status, code:
        case _, "NoSuchBucket":
            error: StorageError = ObjectMissing(f"{message}: there is no such bucket")
        case _, "NoSuchUpload":
            error = Unavailable(f"{message}: the upload no longer exists; start it again")
        case 404, _:
            error = ObjectMissing(f"{what} does not exist in OSS")
        case 412, _:
            error = Unavailable(f"{what} was replaced in OSS while it was read; fetch it again")
        case 416, _:
            error = ObjectCorrupt(f"{message}: the object is shorter than was stated")
        case 403, "InvalidObjectState":
            error = ObjectArchived(f"{message}: it is archived; restore it in OSS, then retry rows of this reason")
        case 403, "":
            error = ForbiddenPath(f"{message}: refused without an error code; check policies, and proxies before OSS")
        case 403, _:
            error = ForbiddenPath(f"{message}: the key's RAM policy or the bucket's policy does not allow it")
        case _:
            error = Rejected(message)
    return error


def _retry_after(error: OssError) -> float | None:
    text = str(error.headers.get("Retry-After", ""))
    return float(text) if text.isdecimal() else None
