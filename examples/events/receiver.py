"""A small receiver of webhooks: checks each signature and prints what happened.

    receiver.py SECRET [PORT]      SECRET as `outflow endpoint keygen` prints it; port 0 picks a free one
"""
import base64, hashlib, hmac, http.server, json, sys, time

secret, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 9000
key = base64.b64decode(secret.removeprefix("whsec_"))
seen = set()


def is_genuine(headers, body):
    seconds = int(headers["webhook-timestamp"])
    content = f"{headers['webhook-id']}.{seconds}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return abs(time.time() - seconds) <= 300 and any(
        hmac.compare_digest(expected, one) for one in headers["webhook-signature"].split(" ")
    )


def told(data):
    if "download" in data:
        download = data["download"]
        return download["name"], "by", download["recipient"], download["acked"], "of", download["total"], "bytes"
    if "link" in data:
        return "by", data["link"]["recipient"]
    return (json.dumps(data),)


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        genuine = is_genuine(self.headers, body)
        self.send_response(204 if genuine else 403)
        self.end_headers()
        # An event may come more than once, always with the same id.
        if genuine and self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            event = json.loads(body)
            # In one piece: events come several at a time.
            sys.stdout.write(" ".join(map(str, (event["type"], *told(event["data"])))) + "\n")
            sys.stdout.flush()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
print(f"receiving on http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
