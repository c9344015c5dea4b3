#!/usr/bin/env bash
# Signs a link: sign.sh KEY-ID KEY BASE PATH [MEMBER=JSON]…
#
#     sign.sh 2026-11 "$KEY" https://example.org /t/abc/ 'recipient="anna@example.org"' expires=1767225600
#
# The key stands on openssl's command line, where others on the same machine can see it.
set -euo pipefail

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

key_id=$1 key=$2 base=$3 path=$4
terms="\"key\":\"$key_id\",\"id\":\"$(openssl rand -hex 16)\",\"scope\":\"$path\""
for member in "${@:5}"; do terms+=",\"${member%%=*}\":${member#*=}"; done
payload=$(printf '{%s}' "$terms" | base64url)
key=$(openssl base64 -d -A <<<"$key" | od -An -v -tx1 | tr -d ' \n')
signature=$(printf 'outflow-link-v1.%s' "$payload" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64url)
printf '%s/l/%s.%s%s\n' "$base" "$payload" "$signature" "$path"
