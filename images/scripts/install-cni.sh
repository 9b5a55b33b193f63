#!/bin/sh
# First container of kube-ovn-cni: the plugin for the container runtime.
#
#   $1   the runtime's plugin directory, as mounted here
set -eu

install() {
    # Renamed into place, because the runtime may be about to run the old one.
    cp "/usr/local/lib/kube-ovn/$2" "$1/.$2.new"
    chmod 755 "$1/.$2.new"
    mv -f "$1/.$2.new" "$1/$2"
}

install "$1" kube-ovn
for name in loopback portmap; do
    # Plugins that the node has belong to other programs, unless we put them there.
    mark=$1/.$name.kube-ovn
    if [ ! -e "$1/$name" ] || sha256sum --check --status "$mark" 2>/dev/null; then
        install "$1" "$name"
        sha256sum "$1/$name" >"$mark"
    fi
done
