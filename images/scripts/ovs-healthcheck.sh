#!/bin/sh
# Probes of ovs-ovn. "alive": the switch works, whatever became of ovn-central, whose loss must not restart a data plane.
# "ready": also, ovn-controller has reached the Southbound database.
set -eu

# ovn-controller appends to this file, in memory, and kube-ovn-cniserver has read it a second later: it may be emptied.
log=/run/openvswitch/acl.log
[ "$(stat -c %s "$log" 2>/dev/null || echo 0)" -le 16777216 ] || : >"$log"

ovs-appctl -T 3 -t ovsdb-server ovsdb-server/list-dbs >/dev/null
ovs-appctl -T 3 -t ovs-vswitchd version >/dev/null
[ "$1" = ready ] || exit 0
[ "$(ovn-appctl -T 3 -t ovn-controller connection-status)" = connected ]
