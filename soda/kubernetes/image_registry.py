"""Whether an image is where its reference says, as a node without credentials finds it."""

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request

from soda.errors import ClusterError
from soda.kubernetes.api import OutOfReach

__all__ = ["image_digest"]

_TIMEOUT_SECONDS = 20
_NO_ANSWER = (OSError, ValueError, http.client.HTTPException)  # the last: an answer that is no HTTP
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


def image_digest(reference: str) -> str | None:
    """Look an image up in its registry, as a node without credentials would.

    Returns: its digest; None where the registry wants credentials, which only nodes have.

    Raises:
        ClusterError: there is no such image.
        OutOfReach: the registry does not answer from here.
    """
    host, repository, version = _parts(reference)
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    url = f"{scheme}://{host}/v2/{repository}/manifests/{version}"
    token = ""
    for _ in range(2):
        headers = {"Accept": _MANIFESTS, **({"Authorization": f"Bearer {token}"} if token else {})}
        try:
            request = urllib.request.Request(url, method="HEAD", headers=headers)
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                return str(answer.headers.get("Docker-Content-Digest", version))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise ClusterError(f"{reference}: expected an image, found none there") from error
            if error.code not in (401, 403):
                raise ClusterError(f"{reference}: the registry answered {error.code}") from error
            challenge = error.headers.get("WWW-Authenticate", "")
            token = "" if token else _token(challenge)
            if not token:
                return None
        except _NO_ANSWER as error:
            problem = " ".join(str(error).split())
            raise OutOfReach(f"{reference}: the registry cannot be reached: {problem}") from error
    return None


def _parts(reference: str) -> tuple[str, str, str]:
    """Split a reference into registry, repository, and tag or digest."""
    name, _, digest = reference.partition("@")
    first, slash, rest = name.partition("/")
    if slash and (set(first) & {".", ":"} or first == "localhost"):
        host, path = first, rest
    else:
        host, path = "registry-1.docker.io", name if slash else f"library/{name}"
    host = {"docker.io": "registry-1.docker.io"}.get(host, host)
    path, _, tag = path.partition(":")
    return host, path, digest or tag or "latest"


def _token(challenge: str) -> str:
    """Ask for the token that the registry names, as nobody; '' if it gives none."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer") or "realm" not in fields:
        return ""
    query = urllib.parse.urlencode(
        {key: fields[key] for key in ("service", "scope") if key in fields}
    )
    try:
        url = f"{fields['realm']}?{query}"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return ""
    except _NO_ANSWER:
        return ""
    return str(found.get("token") or found.get("access_token") or "")
