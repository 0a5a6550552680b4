"""The path under which a proxy offers the API, such as /rluf, whether it takes it off or not."""

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def route_path(scope: Scope) -> str:
    """Give a request's path as the routes know it: without the prefix."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


class UnderPrefix:
    """Puts a prefix that a proxy took off back, as ASGI wants it, and keeps redirects on the host
    that the client knows, which may not be the one that we are asked by."""

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app = app
        self._root = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root = self._root
        scope = {**scope, "root_path": root}
        path: str = scope["path"]
        if root and path == root:
            # The page's addresses are relative to its folder, and a folder ends in a slash.
            await RedirectResponse(f"{root}/")(scope, receive, send)
            return
        if root and not path.startswith(f"{root}/"):
            raw: bytes = scope.get("raw_path") or path.encode()
            scope = {**scope, "path": f"{root}{path}", "raw_path": root.encode() + raw}

        async def send_relative(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "location" in headers:
                    headers["location"] = _without_host(headers["location"])
            await send(message)

        await self._app(scope, receive, send_relative)


def _without_host(location: str) -> str:
    """http://127.0.0.1:8000/rluf/v1/status as /rluf/v1/status."""
    scheme, _, rest = location.partition("://")
    path = rest.partition("/")[2].lstrip("/")  # Two slashes would name another host.
    return f"/{path}" if scheme in ("http", "https") else location
