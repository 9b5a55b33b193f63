#!/bin/sh
# The node's first process after its file system is ready: keeps containerd and the kubelet running for as long as the node
# lives, and reaps what containers leave behind. It has no way to end: a node is ended by killing it.
# shellcheck shell=sh
set -u

umount -l /old
rmdir /old
# Mounts of Pods must reach other Pods that ask for it (mountPropagation), as on any host.
mount --make-rshared /

# keep NAME COMMAND...: run it, and again a second after it ended.
keep() {
    name=$1
    shift
    while :; do
        "$@" >>"/var/log/sandbox/$NODE_NAME-$name.log" 2>&1
        echo "$name ended with code $?, starting it again"
        sleep 1
    done
}

# The kubelet gives up at once when there is no containerd yet.
kubelet_when_possible() {
    tries=600
    until [ -S /run/containerd/containerd.sock ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "containerd did not answer within 30 s" >&2; return 1; }
        sleep 0.05
    done
    kubelet --config=/etc/kubernetes/kubelet.json --kubeconfig=/etc/kubernetes/kubeconfig \
        --hostname-override="$NODE_NAME" --node-ip="$NODE_ADDRESSES" --v=1
}

keep containerd containerd --config /etc/kubernetes/containerd.toml &
keep kubelet kubelet_when_possible &
while :; do
    wait
    sleep 1
done
