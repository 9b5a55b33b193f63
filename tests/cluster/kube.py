"""The frequent requests of cluster tests to the API server: objects and their changes.

The connections are kept, because kubectl costs a tenth of a second of a core each time it starts; rare requests are
made with kubectl. Waits follow a watch: they end with the change they wait for, and cost nothing until then.
"""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from sandbox.certificates import ADMIN, CA, certificate_path, key_path
from sandbox.cluster import recorded_cluster
from sandbox.layout import API_PORT, api_address
from sandbox.paths import SandboxError

Json = dict[str, Any]
T = TypeVar("T")
Objects = Mapping[str, Json]
"""Objects by name."""

DEADLINE = 30.0
AGAIN = 0.2
"""Seconds after which a wait asks again when the API server does not answer."""
MERGE, STRATEGIC, APPLY = (
    f"application/{kind}-patch+{form}"
    for kind, form in (("merge", "json"), ("strategic-merge", "json"), ("apply", "yaml"))
)
_GROUPS = {
    "/api/v1": ("event", "namespace", "node", "pod", "service", "serviceaccount"),
    "/apis/apps/v1": ("daemonset", "deployment", "statefulset"),
    "/apis/discovery.k8s.io/v1": ("endpointslice",),
    "/apis/kubeovn.io/v1": ("ip", "ippool", "securitygroup", "subnet"),
    "/apis/networking.k8s.io/v1": ("networkpolicy", "servicecidr"),
}
_PLURAL = {"networkpolicy": "networkpolicies", "securitygroup": "security-groups"}
"""Where it is not the kind with an s."""
_GROUP = {kind: group for group, kinds in _GROUPS.items() for kind in kinds}
_CLUSTER_WIDE = {"namespace", "node", "ip", "ippool", "securitygroup", "servicecidr", "subnet"}
_here = threading.local()


def path(kind: str, name: str = "", namespace: str = "") -> str:
    """The URL path of the objects of a kind; those of all Namespaces, if none is given."""
    inside = f"/namespaces/{namespace}" if namespace and kind not in _CLUSTER_WIDE else ""
    return f"{_GROUP[kind]}{inside}/{_PLURAL.get(kind, f'{kind}s')}" + (f"/{name}" if name else "")


def get(kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> list[Json]:
    """Objects of a kind."""
    return _list(kind, namespace, labels, fields)[0]


def read(kind: str, name: str, namespace: str = "") -> Json:
    return _answer("GET", path(kind, name, namespace))


def create(*objects: Json, namespace: str = "") -> None:
    for each in objects:
        where = path(each["kind"].lower(), namespace=namespace)
        _answer("POST", where + "?fieldValidation=Strict", each)


def apply(*objects: Json, namespace: str = "") -> None:
    """Make objects, or change them into these."""
    for each in objects:
        where = path(each["kind"].lower(), each["metadata"]["name"], namespace)
        _answer("PATCH", f"{where}?fieldManager=tests&force=true&fieldValidation=Strict", each, APPLY)


def patch(kind: str, name: str, change: Json, namespace: str = "", *, part: str = "", form: str = MERGE) -> None:
    """Change an object, or a part of it such as its status."""
    _answer("PATCH", path(kind, name, namespace) + (f"/{part}" if part else ""), change, form)


def delete(kind: str, *names: str, namespace: str = "", grace: int | None = None) -> None:
    """Ask for the end of objects; it has come when they are gone."""
    options = {} if grace is None else {"gracePeriodSeconds": grace}
    for name in names:
        _answer(
            "DELETE",
            path(kind, name, namespace),
            {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", **options},
        )


def delete_all(kind: str, namespace: str, labels: str = "") -> None:
    """Ask for the end of all objects of a kind in a Namespace, or of those with these labels."""
    _answer("DELETE", f"{path(kind, namespace=namespace)}?{_query(labels, '', propagationPolicy='Background')}")


def when(
    condition: Callable[[Objects], T | None],
    deadline: float,
    what: str,
    kind: str,
    namespace: str = "",
    *,
    labels: str = "",
    fields: str = "",
) -> T:
    """Follow objects until the condition is true of them, and return its value. An API server that does not answer is
    asked again.
    """
    end, last = time.monotonic() + deadline, "nothing was seen"
    while True:
        try:
            for objects in _follow(kind, namespace, labels, fields, end):
                answer = condition(objects)
                if answer:
                    return answer
                last = f"{kind}s seen: {', '.join(objects) or 'none'}; the last answer was {answer!r}"
        except SandboxError as error:
            last = str(error)
        assert time.monotonic() < end, f"{what}: not within {deadline:g} s; {last}"
        time.sleep(AGAIN)


def gone(kind: str, *names: str, namespace: str = "", within: float = 60) -> None:
    """Wait until there are no objects of these names."""
    when(lambda seen: not seen.keys() & names, within, f"{kind} {', '.join(names)} gone", kind, namespace)


def remove(kind: str, *names: str, namespace: str = "", grace: int | None = None, within: float = 60) -> None:
    """Delete objects and wait until they are gone; others may have their names by then."""
    old = {read(kind, name, namespace)["metadata"]["uid"] for name in names}
    delete(kind, *names, namespace=namespace, grace=grace)

    def are_gone(seen: Objects) -> bool:
        return not old & {item["metadata"]["uid"] for item in seen.values()}

    when(are_gone, within, f"{kind} {', '.join(names)} gone", kind, namespace)


def _follow(kind: str, namespace: str, labels: str, fields: str, end: float) -> Iterator[Objects]:
    """Objects as they are, and again after each change, until the time is over or the watch ends."""
    items, version = _list(kind, namespace, labels, fields)
    objects = {item["metadata"]["name"]: item for item in items}
    yield objects
    left = max(1, end - time.monotonic())
    asked = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(int(left) + 1)}
    connection = _connect(timeout=left)
    try:
        connection.request("GET", f"{path(kind, namespace=namespace)}?{_query(labels, fields, **asked)}")
        for line in connection.getresponse():
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise SandboxError(f"the watch of {kind}s ended: {event['object'].get('message')}")
            name = event["object"]["metadata"]["name"]
            if event["type"] == "DELETED":
                objects.pop(name, None)
            else:
                objects[name] = event["object"]
            yield objects
    except TimeoutError:
        return
    except (OSError, http.client.HTTPException) as error:
        raise SandboxError(f"the watch of {kind}s broke: {error!r}") from error
    finally:
        connection.close()


def _list(kind: str, namespace: str, labels: str, fields: str) -> tuple[list[Json], str]:
    listing = _answer("GET", f"{path(kind, namespace=namespace)}?{_query(labels, fields)}")
    return listing["items"], listing["metadata"]["resourceVersion"]


def _query(labels: str, fields: str, **more: str) -> str:
    return urlencode(
        {**({"labelSelector": labels} if labels else {}), **({"fieldSelector": fields} if fields else {}), **more}
    )


def _answer(method: str, where: str, body: Json | None = None, form: str = "application/json") -> Json:
    """The API server's answer. Raises SandboxError when it refuses or does not answer."""
    content = None if body is None else json.dumps(body)
    try:
        try:
            status, said = _ask(method, where, content, form)
        except (OSError, http.client.HTTPException):
            if method != "GET":
                raise
            status, said = _ask(method, where, content, form)  # the connection that was kept had ended
    except (OSError, http.client.HTTPException) as error:
        raise SandboxError(f"the API server did not answer {method} {where}: {error!r}") from error
    answer: Json = json.loads(said)
    if status >= 400:
        raise SandboxError(f"{method} {where}: {answer['message']}")
    return answer


def _ask(method: str, where: str, content: str | None, form: str) -> tuple[int, bytes]:
    connection = getattr(_here, "connection", None) or _connect(DEADLINE)
    _here.connection = None
    connection.request(method, where, content, {"Content-Type": form})
    response = connection.getresponse()
    said = response.read()
    _here.connection = connection
    return response.status, said


def _connect(timeout: float) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(_host(), timeout=timeout, context=_context())


def _host() -> str:
    return f"{api_address(recorded_cluster().family)}:{API_PORT}"


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate_path(CA)))
    context.load_cert_chain(certificate_path(ADMIN), key_path(ADMIN))
    return context
