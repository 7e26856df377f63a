"""A client on top of oss2: own connections, renewed keys, and no exception or log line of the SDK outside."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from xml.etree.ElementTree import ParseError

import oss2
import requests
from oss2.exceptions import OssError, RequestError
from requests.adapters import HTTPAdapter

from storage.aliyun.credentials import CredentialProvider
from storage.objects.oss.answers import OssFailure, broken, failure_of

T = TypeVar("T")

_AUTH = {"v4": oss2.ProviderAuthV4, "v1": oss2.ProviderAuth}
_POOL_SIZE = 32
# The SDK logs headers and signed texts at DEBUG, and error bodies at INFO: all of them contain the security token.
_SECRET_LOGGERS = ("oss2", "oss2.api", "oss2.auth", "oss2.http", "oss2.credentials", "oss2.utils", "oss2.models")


@dataclass(frozen=True, slots=True)
class OssPlace:
    """The address of OSS, and the way in which requests are signed."""

    endpoint: str  # https://oss-cn-hangzhou-internal.aliyuncs.com
    region: str  # cn-hangzhou
    signature: Literal["v4", "v1"] = "v4"
    is_path_style: bool = False  # bucket in the path; an IP address implies it
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 10.0


class OssClient:
    """Sends each request once and returns a result or an ``OssFailure``. Thread-safe; open one per process."""

    def __init__(self, place: OssPlace, provider: CredentialProvider) -> None:
        for name in _SECRET_LOGGERS:
            logging.getLogger(name).addFilter(_drop_record)
        self.place = place
        self._auth = _AUTH[place.signature](_Keys(provider))
        self._connections = _Connections()

    def ask(
        self, what: str, bucket: str, operation: Callable[[Any], T], *, is_streamed: bool = False
    ) -> T | OssFailure:
        """Call ``operation`` with the bucket; errors of the key provider pass through.

        A streamed result holds a connection until its response is closed.
        """
        answer = self._answer(what, bucket, operation)
        if isinstance(answer, OssFailure) or not is_streamed:
            self._connections.release()
        return answer

    def _answer(self, what: str, bucket: str, operation: Callable[[Any], T]) -> T | OssFailure:
        try:
            return operation(self._bucket(bucket))
        except OssError as error:
            return failure_of(what, error)
        except requests.RequestException as error:
            return broken(what, f"the reply broke off ({type(error).__name__})")
        except (ParseError, RuntimeError, LookupError, ValueError) as error:  # raised by the SDK's XML reader
            return broken(what, f"the reply cannot be read ({type(error).__name__})")

    def _bucket(self, name: str) -> Any:
        place = self.place
        return oss2.Bucket(
            self._auth,
            place.endpoint,
            name,
            session=self._connections,
            connect_timeout=(place.connect_timeout_seconds, place.read_timeout_seconds),
            app_name="tamis",
            enable_crc=False,  # its CRC is limited to 114 MB/s of one core; OssStore checks with a faster one
            region=place.region,
            is_path_style=place.is_path_style,
        )


@dataclass(frozen=True, slots=True)
class _Keys:
    """Adapts a provider to the SDK's interface."""

    provider: CredentialProvider

    def get_credentials(self) -> oss2.credentials.Credentials:
        keys = self.provider.credentials()
        return oss2.credentials.Credentials(keys.access_key_id, keys.access_key_secret, keys.security_token or "")


class _Connections:
    """A session for the SDK that ignores redirects, and proxies and ``.netrc`` of the environment."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=_POOL_SIZE, pool_maxsize=_POOL_SIZE))
        self._of_thread = threading.local()

    def do_request(self, request: Any, timeout: tuple[float, float]) -> oss2.http.Response:
        """Send a signed request."""
        self._of_thread.response = None
        try:
            response = self._session.request(
                request.method,
                request.url,
                data=request.data,
                params=request.params,
                headers=request.headers,
                stream=True,
                timeout=timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise RequestError(error) from error
        self._of_thread.response = response
        return oss2.http.Response(response)

    def release(self) -> None:
        """Release the connection of this thread's last response, which the SDK often leaves unread."""
        response = getattr(self._of_thread, "response", None)
        if response is not None:
            response.close()


def _drop_record(record: logging.LogRecord) -> bool:
    del record
    return False
