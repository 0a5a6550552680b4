"""Who may speak to the API from a browser: which hosts, and which pages.

A browser sends what any page tells it to. So a name that is not ours is refused (DNS rebinding: an
attacker's name that points here makes the attacker's page one of ours), and so is what another page
has the browser change. Pages that may send feedback are listed; they get CORS headers for that
route and no other. Programs send no `Origin` and notice nothing.

Sources: Fetch (whatwg.org), "CORS protocol"; RFC 9110, 7.4 and 15.5.20 (421); OWASP's "Cross-Site
Request Forgery Prevention": verifying origin with standard headers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.config import ServingConfig
from serving.errors import ApiError, BadRequest, Forbidden, Misdirected, answer, seen
from serving.prefix import route_path

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""
FEEDBACK_PATHS = ("/v1/feedback", "/feedback")
CORS_HEADERS = "authorization, content-type, idempotency-key, x-request-id, x-rluf-strict"
EXPOSED = "idempotency-replayed, retry-after, x-request-id, x-rluf-warnings"
PREFLIGHT_S = 600
"""How long a browser may remember a preflight's answer: Chromium's limit is two hours."""
AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{0,5}))?")
DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A host and its port, as they are compared."""

    host: str
    """In lower case, without brackets and a last dot."""
    port: str
    """Empty: the scheme's own."""


def read_authority(text: str) -> Authority | None:
    """Read what stands in Host, such as [::1]:8000; None for what is none."""
    found = AUTHORITY.fullmatch(text.strip().lower())
    if found is None:
        return None
    host = found[1].strip("[]").removesuffix(".")
    if found[1].startswith("["):
        try:
            host = IPv6Address(host).compressed
        except ValueError:
            return None
    return Authority(host=host, port=found[2] or "") if host else None


class Hosts:
    """The names under which the API may be asked for."""

    def __init__(self, config: ServingConfig) -> None:
        bound = read_authority(f"[{config.host}]" if ":" in config.host else config.host)
        self._bound = bound.host if bound else ""
        address = _address(self._bound)
        # Bound to every address of the machine, it is rightly asked for by each. No address leads
        # a browser astray: rebinding needs a name.
        self._is_everywhere = not self._bound or (address is not None and address.is_unspecified)
        self._names = frozenset(name.lower().removesuffix(".") for name in config.hosts)

    def allow(self, authority: Authority) -> bool:
        """Whether a request may name this host."""
        host = authority.host
        address = _address(host)
        if address is not None and (address.is_loopback or self._is_everywhere):
            return True
        if host in ("localhost", self._bound) or host.endswith(".localhost"):
            return True
        parents = {host[place:] for place, letter in enumerate(host) if letter == "."}
        return not self._names.isdisjoint({"*", host, *parents})


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


class OriginMiddleware:
    """Lets in what may come, tells the pages that may send feedback so, and answers the rest."""

    def __init__(self, app: ASGIApp, *, config: ServingConfig) -> None:
        self._app = app
        self._hosts = Hosts(config)
        self._origins = frozenset(map(_normal, config.origins))
        self._feedback_origins = frozenset(map(_normal, config.feedback_origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), route_path(scope)
        cors: Mapping[str, str] = {}

        async def send_with_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                told.setdefault("x-content-type-options", "nosniff")
                told.setdefault("cross-origin-resource-policy", "same-origin")
                told.update(cors)
                if path in FEEDBACK_PATHS and self._feedback_origins:
                    told.add_vary_header("Origin")
            await send(message)

        try:
            host = self._host_of(headers, scope)
            origin = self._origin_of(headers)
            cors = self._cors_for(origin, path)
            if not cors and scope["method"] not in SAFE:
                self._require_ours(headers, origin, host)
        except ApiError as error:
            await answer(error, path)(scope, receive, send_with_origin)
            return
        if cors and scope["method"] == "OPTIONS":
            allowed = Response(status_code=204, headers=_preflight(headers))
            await allowed(scope, receive, send_with_origin)
            return
        await self._app(scope, receive, send_with_origin)

    def _host_of(self, headers: Headers, scope: Scope) -> Authority | None:
        """Give the host that the request names. Raises BadRequest or Misdirected."""
        named = headers.getlist("host")
        if not named and scope["http_version"] == "1.0":
            return None  # No browser: those of today speak 1.1 and name a host.
        host = read_authority(named[0]) if len(named) == 1 else None
        if host is None:
            raise BadRequest(
                f"one Host header must name the host, got {seen(', '.join(named))}",
                param="Host",
                code="invalid_host",
            )
        if not self._hosts.allow(host):
            raise Misdirected(
                f"this API does not answer for the host {seen(host.host)}: allowed are loopback"
                " names, the host that it listens on (serving.host), and those listed in"
                f" serving.hosts, such as RLUF_SERVING__HOSTS='[\"{host.host}\"]'",
                param="Host",
                code="host_not_allowed",
            )
        return host

    def _origin_of(self, headers: Headers) -> str | None:
        """Give the page that asks; None for no page. Raises BadRequest for several."""
        named = headers.getlist("origin")
        if len(named) > 1:
            raise BadRequest(
                f"at most one Origin may be named, got {len(named)}",
                param="Origin",
                code="invalid_origin",
            )
        return _normal(named[0]) if named else None

    def _cors_for(self, origin: str | None, path: str) -> Mapping[str, str]:
        """Give the headers by which a browser hands our answer to a page; none for most."""
        if origin is None or path not in FEEDBACK_PATHS or origin not in self._feedback_origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": EXPOSED,
            "cross-origin-resource-policy": "cross-origin",
        }

    def _require_ours(self, headers: Headers, origin: str | None, host: Authority | None) -> None:
        """Raise Forbidden where a page of others' would have something changed."""
        is_foreign = headers.get("sec-fetch-site", "").lower() in ("cross-site", "same-site")
        if origin is not None:
            is_foreign = origin not in self._origins and not _is_of_host(origin, host)
        if is_foreign:
            raise Forbidden(
                f"a page of {seen(origin or 'another site')} may not do this here: list its origin"
                " in serving.feedback_origins for feedback alone, or in serving.origins",
                param="Origin",
                code="origin_not_allowed",
            )


def _normal(origin: str) -> str:
    """An origin as it is compared: in lower case, without its scheme's own port."""
    scheme, _, rest = origin.strip().lower().rstrip("/").partition("://")
    return (
        f"{scheme}://{rest.removesuffix(':' + DEFAULT_PORTS.get(scheme, '-'))}" if rest else scheme
    )


def _is_of_host(origin: str, host: Authority | None) -> bool:
    """Whether a page came from where the request goes. Behind a proxy that speaks TLS the scheme
    differs, so it does not count; the port does."""
    scheme, _, rest = origin.partition("://")
    page = read_authority(rest)
    if host is None or page is None or scheme not in DEFAULT_PORTS:
        return False
    own = DEFAULT_PORTS[scheme]
    return (page.host, page.port or own) == (host.host, host.port or own)


def _preflight(headers: Headers) -> dict[str, str]:
    """What may be sent, and for how long that holds."""
    allowed = {
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": CORS_HEADERS,
        "access-control-max-age": str(PREFLIGHT_S),
        "vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
    }
    if headers.get("access-control-request-private-network") == "true":
        allowed["access-control-allow-private-network"] = "true"
    return allowed
