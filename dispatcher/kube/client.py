"""The client of the API server: paths and JSON in, JSON or :class:`KubeError` out.

urllib3 does TLS, kept connections and proxies; :mod:`dispatcher.kube.login` finds the API server.
There are no generated models: admission reviews and watches are JSON already, and a list of
``PartialObjectMetadata`` has no model.

Rules: every call has a time-out. Nothing is retried here, because only the caller knows whether a
retry is right. A call either returns the decoded object or raises :class:`KubeError`, whose
``status`` is the API server's (0: no answer). Threads may share an instance.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from urllib.parse import quote, urlencode

import urllib3

from dispatcher.kube import login
from dispatcher.kube.errors import KubeError as KubeError  # noqa: PLC0414 - callers import it from here

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dispatcher.kube.login import Login

TIMEOUT = 10.0
"""Seconds for one call, unless the caller passes another time-out."""

METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


class KubeClient(Protocol):
    """The calls of the API that the services use; tests of faults pass their own client."""

    def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        timeout: float = TIMEOUT,
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Return the object or list at *path*."""
        ...

    def create(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """POST *body* to the collection at *path*; return the stored object."""
        ...

    def update(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """PUT *body*; its ``metadata.resourceVersion`` makes it conditional (409 Conflict)."""
        ...

    def patch(
        self, path: str, body: Any, media_type: str = JSON_PATCH, *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """PATCH with *body* of *media_type*; return the stored object."""
        ...

    def delete(self, path: str, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        """DELETE the object at *path*."""
        ...

    def watch(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        seconds: int,
        accept: str = "application/json",
    ) -> contextlib.AbstractContextManager[Iterator[dict[str, Any]]]:
        """Watch *path*: a context whose value yields ``{"type": …, "object": …}``."""
        ...


class Kube:
    """A :class:`KubeClient` on the real API server."""

    def __init__(self, api_login: Login, user_agent: str) -> None:
        self._login = api_login
        self._user_agent = user_agent
        self.server_date: tuple[str, float] | None = None
        """``Date`` of the API server's last answer, and this machine's boot clock at that moment,
        for callers that have to agree with the API server on the time (certificates)."""

    @classmethod
    def load(
        cls, user_agent: str, kubeconfig: str | None = None, context: str | None = None
    ) -> Kube:
        """Log in with *kubeconfig* or its *context*, else as a pod, else as kubectl does.

        Raises KubeError.
        """
        try:
            if kubeconfig or context:
                api_login = login.as_kubectl(kubeconfig, context)
            else:
                api_login = login.find()
        except login.LoginError as error:
            raise KubeError(0, "NoConfiguration", f"cannot log in to Kubernetes: {error}") from None
        return cls(api_login, user_agent)

    def close(self) -> None:
        """Close the idle connections."""
        self._login.pool.clear()

    def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        timeout: float = TIMEOUT,
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Return the object or list at *path*; *accept* may ask for metadata only."""
        return self._call("GET", _with_query(path, query), None, timeout=timeout, accept=accept)

    def get_text(self, path: str, *, timeout: float = TIMEOUT) -> str:
        """Return what is at *path* as text, such as a log or what a pod answers to a proxy."""
        wait = urllib3.Timeout(total=timeout)
        response = self._open("GET", path, None, timeout=wait, accept="text/plain, */*")
        try:
            return response.data.decode("utf-8", "replace")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            _raise_no_answer("GET", path, error)

    def create(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """POST *body* to the collection at *path*; return the stored object."""
        return self._call("POST", path, body, timeout=timeout)

    def update(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """PUT *body*; its ``metadata.resourceVersion`` makes it conditional (409 Conflict)."""
        return self._call("PUT", path, body, timeout=timeout)

    def patch(
        self, path: str, body: Any, media_type: str = JSON_PATCH, *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """PATCH with *body* of *media_type*; return the stored object."""
        return self._call("PATCH", path, body, timeout=timeout, content_type=media_type)

    def delete(self, path: str, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        """DELETE the object at *path*; return it, or the server's status."""
        return self._call("DELETE", path, None, timeout=timeout)

    @contextlib.contextmanager
    def watch(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        seconds: int,
        accept: str = "application/json",
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Watch *path* for at most *seconds*; a context whose value yields events.

        The iterator ends when the server closes the watch. The query asks for bookmarks. An
        ``ERROR`` event raises :class:`KubeError` with its status (410: list again). A server
        that is silent for longer than *seconds* and a margin raises it with status 0.
        """
        watch_query = {
            **(query or {}),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        read_timeout = urllib3.Timeout(connect=TIMEOUT, read=seconds + 10.0)
        url = _with_query(path, watch_query)
        response = self._open("GET", url, None, timeout=read_timeout, accept=accept)
        try:
            yield _events(response)
        finally:
            response.close()
            response.release_conn()

    def _call(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        timeout: float,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        response = self._open(
            method,
            path,
            body,
            timeout=urllib3.Timeout(total=timeout),
            accept=accept,
            content_type=content_type,
        )
        try:
            decoded: dict[str, Any] = json.loads(response.data)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            _raise_no_answer(method, path, error)
        except ValueError as error:
            message = f"{method} {path}: the API server's answer is not valid JSON: {error}"
            raise KubeError(0, "BadAnswer", message) from None
        return decoded

    def _open(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        timeout: urllib3.Timeout,
        accept: str,
        content_type: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": accept, "User-Agent": self._user_agent}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            if authorization := self._login.authorization():
                headers["Authorization"] = authorization
            response = self._login.pool.request(
                method,
                f"{self._login.url}{path}",
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=timeout,
                preload_content=False,
                retries=False,
            )
            if date := response.headers.get("Date"):
                self.server_date = (date, _boot_clock())
        except (urllib3.exceptions.HTTPError, OSError) as error:
            _raise_no_answer(method, path, error)
        if not 200 <= response.status < 300:  # noqa: PLR2004 - success, as HTTP counts it
            _raise_refused(method, path, response)
        return response


def _boot_clock() -> float:
    """Return the seconds since the machine started, its sleep included where a clock has that."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux has it; kubectl genie runs elsewhere too
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def object_path(collection: str, name: str) -> str:
    """Return the path of the object *name* in *collection*, with the name escaped."""
    return f"{collection}/{quote(name, safe='')}"


def _with_query(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _events(response: urllib3.BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    pending = b""
    try:
        for chunk in response.stream(amt=None):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in filter(None, lines):
                event: dict[str, Any] = json.loads(line)
                if event["type"] == "ERROR":
                    _raise_status(event["object"], "watch")
                yield event
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise KubeError(0, "NoAnswer", f"watch interrupted: {error}") from None


def _raise_no_answer(method: str, path: str, error: Exception) -> NoReturn:
    message = f"{method} {path}: no answer from the API server: {error}"
    raise KubeError(0, "NoAnswer", message) from None


def _raise_refused(method: str, path: str, response: urllib3.BaseHTTPResponse) -> NoReturn:
    try:
        status = json.loads(response.data)
    except (ValueError, urllib3.exceptions.HTTPError, OSError):
        status = None
    if not isinstance(status, dict):
        status = {}
    status.setdefault("code", response.status)
    _raise_status(status, f"{method} {path}")


def _raise_status(status: Mapping[str, Any], what: str) -> NoReturn:
    reason = str(status.get("reason") or "Unknown")
    message = str(status.get("message") or "the API server gave no reason")
    raise KubeError(int(status.get("code") or 0), reason, f"{what}: {message}")
