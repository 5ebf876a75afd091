#!/usr/bin/env bash
# make-image.sh TAG SOCKET: an image with this machine's Node.js and npm, its libraries, certificates and busybox.
# No registry is asked.
set -euo pipefail

tag=$1
socket=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,usr/bin,usr/lib,etc/ssl/certs,tmp,app,proc,sys,dev,root,home/node,var/tmp,opt}
chmod 1777 "$root/tmp" "$root/var/tmp"

cp "$(readlink -f "$(command -v node)")" "$root/usr/bin/node"
# The dynamic loader and every shared library that node asks for, and those that answer names.
ldd "$root/usr/bin/node" | grep -oE '/[^ )]+' | sort -u | while read -r lib; do
    mkdir -p "$root$(dirname "$lib")"
    cp -L "$lib" "$root$lib"
done
# And those of glibc that native modules name.
for lib in libnss_files.so.2 libnss_dns.so.2 libresolv.so.2 librt.so.1 libpthread.so.0 libdl.so.2 libutil.so.1 libm.so.6; do
    found=$(ldconfig -p | awk -v lib="$lib" '$1 == lib { print $NF; exit }')
    if [ -n "$found" ]; then
        mkdir -p "$root$(dirname "$found")"
        cp -L "$found" "$root$found"
    fi
done

npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
mkdir -p "$root/usr/lib/node_modules"
cp -rL "$npm" "$root/usr/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/bin/npm"
ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/bin/npx"

cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh env ls cat echo mkdir rm cp mv ln sleep ps kill wget nc tar id uname test true false head tail grep sed setsid mkfifo; do
    ln -s /bin/busybox "$root/bin/$applet"
done
ln -s ../../bin/busybox "$root/usr/bin/env"
printf 'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000:node:/home/node:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnode:x:1000:\n' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

# NODE_ENV as an image may set it: builds and servers get none of it.
tar -C "$root" -c . | curl -fsS -X POST --unix-socket "$socket" -H 'Content-Type: application/x-tar' -T - \
    "http://engine/v1.41/images/create?fromSrc=-&repo=${tag%%:*}&tag=${tag##*:}&changes=ENV%20PATH%3D%2Fusr%2Fbin%3A%2Fbin&changes=ENV%20NODE_ENV%3Dimage&changes=ENTRYPOINT%20%5B%22%2Fbin%2Ffalse%22%5D" >/dev/null
