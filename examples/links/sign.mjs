#!/usr/bin/env node
// Signs a link: sign.mjs KEY-ID KEY BASE PATH [MEMBER=JSON]…
//
//     sign.mjs 2026-11 "$KEY" https://example.org /t/abc/ 'recipient="anna@example.org"' expires=1767225600
import { createHmac, randomBytes } from "node:crypto";

const [keyId, key, base, path, ...members] = process.argv.slice(2);
const terms = { key: keyId, id: randomBytes(16).toString("base64url"), scope: path };
for (const member of members) {
  const at = member.indexOf("=");
  terms[member.slice(0, at)] = JSON.parse(member.slice(at + 1));
}
const payload = Buffer.from(JSON.stringify(terms)).toString("base64url");
const hmac = createHmac("sha256", Buffer.from(key, "base64"));
const signature = hmac.update("outflow-link-v1." + payload).digest("base64url");
console.log(`${base}/l/${payload}.${signature}${path}`);
