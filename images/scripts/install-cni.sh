#!/bin/sh
# First container of kube-ovn-cni: what a node needs before the daemon may run.
#
#   $1         the container runtime's plugin directory, as mounted here
#   POD_CIDR   CIDRs of the Pods: which address families the node has to forward
set -eu

# Renamed into place, because the runtime may be about to run the old one.
cp /usr/local/lib/kube-ovn/kube-ovn "$1/.kube-ovn.new"
chmod 755 "$1/.kube-ovn.new"
mv -f "$1/.kube-ovn.new" "$1/kube-ovn"

case $POD_CIDR in
*.*) echo 1 >/proc/sys/net/ipv4/ip_forward ;;
esac
case $POD_CIDR in
*:*) echo 1 >/proc/sys/net/ipv6/conf/all/forwarding ;;
esac
