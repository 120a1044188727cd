#!/bin/bash
# A worker's health check inside its container, which has no curl: succeeds when the worker is ready.
set -eu

exec 3<>"/dev/tcp/127.0.0.1/${HANDOVER_WORKER__HTTP_BIND##*:}"
printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r _ status _ <&3
[ "$status" = 200 ]
