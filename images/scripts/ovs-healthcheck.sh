#!/bin/sh
# Probes of ovs-ovn. "alive": the switch works, whatever became of ovn-central, whose loss must not restart a data plane.
# "ready": also, ovn-controller has reached the Southbound database.
set -eu

ovs-appctl -T 3 -t ovsdb-server ovsdb-server/list-dbs >/dev/null
ovs-appctl -T 3 -t ovs-vswitchd version >/dev/null
[ "$1" = ready ] || exit 0
[ "$(ovn-appctl -T 3 -t ovn-controller connection-status)" = connected ]
