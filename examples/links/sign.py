#!/usr/bin/env python3
"""Signs a link: sign.py KEY-ID KEY BASE PATH [MEMBER=JSON]…

    sign.py 2026-11 "$KEY" https://example.org /t/abc/ 'recipient="anna@example.org"' expires=1767225600
"""
import base64, hashlib, hmac, json, secrets, sys


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


key_id, key, base, path, *members = sys.argv[1:]
terms = {"key": key_id, "id": secrets.token_urlsafe(16), "scope": path}
for member in members:
    name, value = member.split("=", 1)
    terms[name] = json.loads(value)
payload = base64url(json.dumps(terms).encode())
signature = hmac.digest(base64.b64decode(key), b"outflow-link-v1." + payload.encode(), hashlib.sha256)
print(f"{base}/l/{payload}.{base64url(signature)}{path}")
