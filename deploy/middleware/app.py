"""Two small applications that answer with the client they see: `app` for ASGI servers, `application` for WSGI."""

from pathlib import Path

from clientip.asgi import AsgiClientIP
from clientip.wsgi import WsgiClientIP

CONFIG = Path(__file__).parent / "clientip.toml"


async def hello(scope, receive, send):
    assert scope["type"] == "http"
    found = scope["clientip"]  # in Starlette and FastAPI also: request.state.clientip
    text = f"{scope['client'][0]} {found.verdict} {found.reason or found.method}\n"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


def hello_wsgi(environ, start_response):
    found = environ["clientip.resolution"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REMOTE_ADDR']} {found.verdict} {found.reason or found.method}\n".encode()]


app = AsgiClientIP(hello, config=CONFIG, system="app")
application = WsgiClientIP(hello_wsgi, config=CONFIG, system="app")
