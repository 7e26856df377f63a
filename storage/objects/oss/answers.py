"""What OSS answers when it does not do what was asked, as faults of ours.

The SDK's exceptions carry what was signed, security token included. They end here: a fault is a value, made of the
code, the request's id and texts of ours, and what is raised from it has no other exception behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

from oss2.exceptions import ClientError, OssError, RequestError

from storage.errors import ForbiddenPath, ObjectCorrupt, ObjectMissing, Rejected, StorageError, Unavailable

# Not the row's fault: with other keys, another clock or another setting the same request is served.
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
    """Why a request failed, and whether the same may go well when it is sent again."""

    error: StorageError
    is_retryable: bool = False
    retry_after_seconds: float | None = None  # as the server asks
    code: str = ""  # of OSS


def broken(what: str, why: str) -> OssFailure:
    """A reply that did not come, or not whole."""
    return OssFailure(Unavailable(f"{what}: {why}"), is_retryable=True)


def damaged(what: str, why: str) -> OssFailure:
    """A reply that cannot be right however often it comes."""
    return OssFailure(ObjectCorrupt(f"{what} {why}"))


def failure_of(what: str, error: OssError) -> OssFailure:
    """Tell from the SDK's error what happened to ``what``."""
    if isinstance(error, RequestError):
        return broken(what, f"OSS does not answer ({type(error.exception).__name__})")
    if isinstance(error, ClientError):
        return OssFailure(ForbiddenPath(f"{what} is not a name that OSS takes"))
    status, code = int(error.status), str(error.code or "")
    said = f"{what}: OSS answers {status} {code} (request {error.request_id or 'without id'})".replace("  ", " ")
    if status >= 500 or status in RETRIED_STATUS or code in RETRIED_CODES:
        return OssFailure(Unavailable(said), True, _retry_after(error), code)
    return OssFailure(_permanent(said, what, status, error), code=code)


def _permanent(said: str, what: str, status: int, error: OssError) -> StorageError:
    code = error.code
    if code in KEYS_REFUSED:
        return Unavailable(f"{said}: {KEYS_REFUSED[code]}")
    if str(error.details.get("ArgumentName", "")).lower() == "authorization":
        return Unavailable(f"{said}: the signature's form is refused; check TAMIS_OSS_REGION and TAMIS_OSS_ENDPOINT")
    if status < 400:
        return Unavailable(f"{said}: OSS sends us elsewhere; the bucket is behind another TAMIS_OSS_ENDPOINT")
    return _rejected(said, what, status, code)


def _rejected(said: str, what: str, status: int, code: str) -> StorageError:
    match status, code:
        case _, "NoSuchBucket":
            error: StorageError = ObjectMissing(f"{said}: there is no such bucket")
        case _, "NoSuchUpload":
            error = Unavailable(f"{said}: the upload is gone; begin anew")
        case 404, _:
            error = ObjectMissing(f"{what} does not exist in OSS")
        case 412, _:
            error = Unavailable(f"{what} was replaced in OSS while it was read; fetch it again")
        case 416, _:
            error = ObjectCorrupt(f"{said}: the object is shorter than was stated")
        case 403, _:
            error = ForbiddenPath(f"{said}: the key's RAM policy or the bucket's policy does not allow it")
        case _:
            error = Rejected(said)
    return error


def _retry_after(error: OssError) -> float | None:
    text = str(error.headers.get("Retry-After", ""))
    return float(text) if text.isdecimal() else None
