"""The interactive page about the APIs: everything on it comes from this server."""

from importlib.resources import files

from fastapi import APIRouter, HTTPException, Response

PATH = "/docs"

_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Milvane: the HTTP APIs</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{PATH}/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="{PATH}/swagger-ui-bundle.js"></script>
<script src="{PATH}/start.js"></script>
</body>
</html>
"""

# Without `validatorUrl: null` the library shows the description to a server of its makers.
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  validatorUrl: null,
});
"""

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

_LIBRARY = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


def explorer_router() -> APIRouter:
    """Build the page's routes; they are not part of the description that it shows."""
    router = APIRouter(prefix=PATH, include_in_schema=False)

    @router.get("")
    def show() -> Response:
        """Show the page."""
        return Response(_PAGE, media_type="text/html", headers=_HEADERS)

    @router.get("/start.js")
    def start() -> Response:
        """Start the page's library."""
        return Response(_START, media_type="text/javascript", headers=_HEADERS)

    @router.get("/{name}")
    def load(name: str) -> Response:
        """Hand out a file of the page's library."""
        if name not in _LIBRARY:
            raise HTTPException(404)
        content = (files("fastapi_offline") / "static" / name).read_bytes()
        return Response(content, media_type=_LIBRARY[name], headers=_HEADERS)

    return router
