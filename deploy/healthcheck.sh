#!/usr/bin/env bash
# Exit 0 where Sillage at HOST:PORT is ready for its work. bash alone: the image has no HTTP client.
set -euo pipefail
address=${1:-127.0.0.1:8080}
exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
printf 'GET /readyz HTTP/1.0\r\nHost: %s\r\n\r\n' "$address" >&3
IFS= read -r -t 4 status <&3
[[ $status == HTTP/1.?\ 200\ * ]]
