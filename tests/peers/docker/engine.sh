#!/usr/bin/env bash
# engine.sh DATADIR: a private Docker engine on DATADIR/docker.sock, with a bridge and an image of its own; says
# READY, and ends with everything it made when its standard input does. Needs root, dockerd, ip and iptables.
set -euo pipefail

data=$1
here=$(cd "$(dirname "$0")" && pwd)
socket=$data/docker.sock
bridge=ma$(basename "$data" | tr -dc 'a-z0-9A-Z' | tail -c 10)
dockerd=

api() { # METHOD PATH
    curl -fsS -X "$1" --unix-socket "$socket" "http://engine/v1.41$2"
}

clean_up() {
    set +e
    kill -CONT "$dockerd" 2>/dev/null # a test may have stopped it
    for id in $(api GET '/containers/json?all=1' | grep -oE '"Id":"[0-9a-f]{64}"' | cut -d'"' -f4); do
        api DELETE "/containers/$id?force=1&v=1"
    done
    api POST /networks/prune
    kill -TERM "$dockerd"
    for _ in $(seq 200); do
        kill -0 "$dockerd" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$dockerd" 2>/dev/null
    ip link del "$bridge"
    for mounted in $(awk -v root="$data/" 'index($2, root) == 1 { print $2 }' /proc/mounts | sort -r); do
        umount -l "$mounted"
    done
    rm -rf "$data"
} >/dev/null 2>&1

command -v dockerd >/dev/null || { echo "dockerd is missing: run scripts/install-system-packages --tests" >&2; exit 1; }
mkdir -p "$data/root" "$data/exec"
trap clean_up EXIT
trap '' INT # a Ctrl-C is for the tests; this still has work to do then

# A subnet that nothing on the machine uses yet.
for try in $(seq 20 250); do
    subnet=10.219.$try
    # To its end: `grep -q` hangs up on `ip`, which `pipefail` takes for "not found".
    ip route | grep "$subnet\." >/dev/null || break
done
ip link add "$bridge" type bridge
ip addr add "$subnet.1/24" dev "$bridge"
ip link set "$bridge" up

start_once() {
    setsid dockerd -H "unix://$socket" --data-root "$data/root" --exec-root "$data/exec" \
        --pidfile "$data/pid" --bridge "$bridge" --default-address-pool "base=10.$((220 + try % 30)).0.0/16,size=24" \
        --storage-driver "${DOCKER_STORAGE:-overlay2}" >>"$data/log" 2>&1 </dev/null &
    dockerd=$!
    for _ in $(seq 300); do
        api GET /_ping >/dev/null 2>&1 && return
        kill -0 "$dockerd" 2>/dev/null || break
        sleep 0.1
    done
    return 1
}

start() {
    # Another engine of the machine may have had the firewall to itself.
    start_once || start_once || start_once || { tail -n 20 "$data/log" >&2; exit 1; }
}

start
"$here/make-image.sh" mastra-admin-test/node:host "$socket"
echo "READY unix://$socket"

# Commands of the tests, a line each: the engine goes away and comes back.
while read -r word; do
    case $word in
        kill) kill -KILL "$dockerd"; wait "$dockerd" 2>/dev/null || true ;;
        start) start ;;
        freeze) kill -STOP "$dockerd" ;;
        thaw) kill -CONT "$dockerd" ;;
    esac
    echo "DONE $word"
done
