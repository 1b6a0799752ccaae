#!/bin/sh
# Runs the program in a Node package: what a peer starts is `npm start -- --peer.address HOST:PORT`. Packaging takes the executable bit away from every file.
set -e
program=./vitro-chaincode
if ! chmod 0755 "$program" 2>/dev/null; then
  # The folder is not writable.
  copy=$(mktemp -d)/vitro-chaincode
  cp "$program" "$copy"
  chmod 0755 "$copy"
  program=$copy
fi
exec "$program" "$@"
