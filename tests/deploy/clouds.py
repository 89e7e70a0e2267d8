#!/usr/bin/env python3
"""What stands for the clouds: Amazon's ECR, Google's token server and storage, and a proxy that leads their registries, and the one
that deploy/kubernetes names, to ours.

usage: clouds.py REGISTRY PASSWORD OBJECT; prints its port. The registry takes the users AWS and oauth2accesstoken with PASSWORD.
OBJECT is a file: what gs://contexts/app/context.tar.gz is to who has a token.
"""
import base64
import http.server
import json
import pathlib
import select
import socket
import sys
import urllib.parse

REGISTRY, PASSWORD, OBJECT = sys.argv[1:]
# The clouds' registries: to whom the executor believes to talk.
LED = {"123456789012.dkr.ecr.eu-west-1.amazonaws.com", "europe-docker.pkg.dev", "registry.example"}


class Clouds(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        if self.path.rsplit(":", 1)[0] not in LED:
            return self.send_error(403)
        host, port = REGISTRY.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            ends = {self.connection: there, there: self.connection}
            while True:
                for ready in select.select(ends, [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return None
                    ends[ready].sendall(data)

    def cloud(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        signed = "Credential=AKIAEXAMPLE/" in self.headers.get("Authorization", "")
        if self.headers.get("X-Amz-Target", "").endswith(".GetAuthorizationToken") and signed:
            token = base64.b64encode(f"AWS:{PASSWORD}".encode()).decode()
            answer = {"authorizationData": [{"authorizationToken": token, "expiresAt": 4e9}]}
        elif b"grant_type" in body and b"assertion=" in body:
            answer = {"access_token": PASSWORD, "expires_in": 3600, "token_type": "Bearer"}
        else:
            return self.answer(403, {})
        return self.answer(200, answer)

    def do_POST(self):
        self.cloud()

    def do_GET(self):
        if urllib.parse.unquote(self.path) != "/contexts/app/context.tar.gz" or self.headers.get("Authorization") != f"Bearer {PASSWORD}":
            return self.answer(403, {})
        body = pathlib.Path(OBJECT).read_bytes()
        self.send_response(200)
        for name, value in {"ETag": '"1"', "Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Clouds)
print(server.server_port, flush=True)
server.serve_forever()
