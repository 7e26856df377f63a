"""Classification of the MaxCompute SDK's errors: retry, or tell the operator. Messages never hold a secret."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from xml.etree.ElementTree import ParseError as XmlError

import pyarrow as pa
import requests
from odps import errors
from odps.tunnel.pb.errors import DecodeError
from urllib3.exceptions import HTTPError

from storage.aliyun.credentials import CredentialProvider
from storage.errors import StorageError, Unavailable, UsageError

MESSAGE_CHARACTERS = 500
_BUSY = (308, 408, 429)  # slot moved, too slow, too much

SDK_ERRORS = (errors.BaseODPSError, requests.RequestException, HTTPError)
DAMAGED = (OSError, EOFError, pa.ArrowException, DecodeError, JSONDecodeError, XmlError, struct.error, UnicodeError)
_REFUSED = (errors.NoPermission, errors.AuthorizationRequired, errors.SignatureNotMatch)
_WRONG = (errors.NoSuchObject, errors.NoSuchSchema, errors.ParseError, errors.InvalidProjectTable)
_ADDRESS = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema)


def is_passing(error: Exception) -> bool:
    """True if the same request may succeed after a wait."""
    if isinstance(error, errors.BaseODPSError):
        status = error.status_code
        passing = (errors.InternalServerError, errors.RequestQuotaExceeded, errors.AuthenticationRequestExpired)
        return isinstance(error, (*passing, errors.ConnectTimeout)) or (
            status is not None and (status in _BUSY or status >= 500)
        )
    return isinstance(error, requests.RequestException | HTTPError) and not isinstance(error, _ADDRESS)


def retry_after_seconds(error: Exception) -> float:
    """Return the wait that the server asked for, in seconds; 0 without one."""
    asked = (getattr(error, "response_headers", None) or {}).get("Retry-After", "")
    return float(asked) if str(asked).isdecimal() else 0.0


def described(error: Exception, provider: CredentialProvider) -> str:
    """Return the error in one line, without keys that a server or proxy may have quoted."""
    text = " ".join(str(error).split()) or type(error).__name__
    try:
        keys = provider.credentials()
    except StorageError:
        return text[:MESSAGE_CHARACTERS]
    for secret in filter(None, (keys.access_key_secret, keys.security_token, keys.access_key_id)):
        text = text.replace(secret, "***")
    return text[:MESSAGE_CHARACTERS]


@contextmanager
def reported(url: object, provider: CredentialProvider) -> Iterator[None]:
    """Convert the SDK's errors into ``Unavailable`` or ``UsageError`` without their cause, which holds headers."""
    try:
        yield
    except SDK_ERRORS as error:
        raise _classified(url, error, described(error, provider)) from None
    except DAMAGED as error:
        raise Unavailable(f"{url}: the reply from MaxCompute is damaged: {described(error, provider)}") from None
    except (AttributeError, TypeError, LookupError, ValueError) as error:
        if not _is_raised_by_sdk(error):
            raise
        raise Unavailable(f"{url}: the reply from MaxCompute makes no sense to its SDK: {error!r:.200}") from None


def _is_raised_by_sdk(error: Exception) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("odps.")


def _classified(url: object, error: Exception, text: str) -> StorageError:
    if isinstance(error, _REFUSED):
        return UsageError(f"{url}: MaxCompute refuses these credentials: {text}. Check the keys and their grants")
    if isinstance(error, _WRONG):
        return UsageError(f"{url}: {text}. Check the project, schema, table and partition in the URL")
    if isinstance(error, _ADDRESS):
        return UsageError(f"{url}: the endpoint is not an address: {text}")
    return Unavailable(f"{url}: MaxCompute cannot serve now: {text}")
