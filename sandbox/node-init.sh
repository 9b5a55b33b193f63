#!/bin/sh
# First process of a node. Builds the node's file system in a mount namespace of its own, moves into it and becomes the
# supervisor. Runs with the machine's file system and ends with the node's.
# shellcheck shell=sh
#
# NODE_NAME   its host name                      NODE_DIR      its state on a real disk
# NODE_LOWER  the shared Debian root             NODE_KUBELET  the kubelet's binary
# NODE_LOGS   where the logs go                  NODE_CGROUPS  lines of "filesystem options directory"
set -eu

root=$NODE_DIR/root
mount --make-rprivate /
# The upper directory is on a real disk: an overlay on an overlay is refused.
mount -t overlay overlay -o "lowerdir=$NODE_LOWER,upperdir=$NODE_DIR/upper,workdir=$NODE_DIR/work" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
# A fresh sysfs shows the node's own network devices, and no control groups.
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
case $NODE_CGROUPS in
"cgroup2 - ."*) ;;
*) mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup ;;
esac
echo "$NODE_CGROUPS" | while read -r filesystem options directory; do
    [ -n "$filesystem" ] || continue
    mkdir -p "sys/fs/cgroup/$directory"
    if [ "$options" = - ]; then
        mount -t "$filesystem" cgroup "sys/fs/cgroup/$directory"
    else
        mount -t "$filesystem" -o "$options" cgroup "sys/fs/cgroup/$directory"
    fi
done
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/lock run/netns etc/kubernetes etc/cni/net.d opt/cni/bin var/lib/containerd var/lib/kubelet var/log/sandbox old
for directory in containerd kubelet; do
    mount --bind "$NODE_DIR/$directory" "var/lib/$directory"
done
mount --bind "$NODE_DIR/etc" etc/kubernetes
mount --bind "$NODE_LOGS" var/log/sandbox
touch usr/local/bin/kubelet
mount --bind "$NODE_KUBELET" usr/local/bin/kubelet
cp -f etc/kubernetes/hosts etc/hosts
echo "$NODE_NAME" >etc/hostname
hostname "$NODE_NAME"
pivot_root . old
exec chroot . /bin/sh /etc/kubernetes/supervise.sh
