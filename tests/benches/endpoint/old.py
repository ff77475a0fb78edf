"""A spec server of the old kind: one thread, a handshake at a time, each token checked, each answer written out anew."""

import base64
import hashlib
import hmac
import http.server
import json
import ssl
import sys

port, key, cert, private, spec = sys.argv[1:]
key = bytes.fromhex(key)
with open(spec, encoding="utf-8") as file:
    document = json.load(file)


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims(header):
    payload, signature = header.removeprefix("Bearer ").split(".")
    expected = hmac.new(key, payload.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(expected, unpadded(signature)):
        raise ValueError("signature")
    return json.loads(unpadded(payload))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            shown = claims(self.headers["Authorization"])
            status = 200 if self.path == f"/spec/{shown['n']}" else 401
        except (AttributeError, KeyError, ValueError):
            status = 401
        body = json.dumps(document if status == 200 else {"error": {"code": "E301"}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, private)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
