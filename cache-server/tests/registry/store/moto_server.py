"""moto's server, one request at a time: it looks at an object and replaces it in two steps, which S3 does in one."""

import io
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import main

answer = DomainDispatcherApplication.__call__
turn = threading.Lock()


def answer_in_turn(application, environ, start_response):
    # Whoever sends slowly has no turn yet.
    if environ.get("CONTENT_LENGTH"):
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    with turn:
        return answer(application, environ, start_response)


DomainDispatcherApplication.__call__ = answer_in_turn
main()
