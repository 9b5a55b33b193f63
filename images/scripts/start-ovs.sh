#!/bin/sh
# Main process of ovs-ovn: ovsdb-server, ovs-vswitchd and ovn-controller of one node in one container.
#
#   NODE_NAME          name of this node, the hostname of its Chassis
#   NODE_IP            address of this node, the tunnel address when TUNNEL_INTERFACE is empty
#   OVN_REMOTE         Southbound database, such as tcp:192.0.2.1:6642; several are separated by commas
#   DATAPATH           system (kernel module) or netdev (userspace)
#   TUNNEL_INTERFACE   NIC that carries the tunnels; needed for netdev
#   TUNNEL_TYPE        geneve or vxlan
#   MONITOR_ALL        true: ovn-controller copies the whole Southbound database
#
# Everything that must survive a restart of this container lives in /var/lib/openvswitch.
set -eu

db_dir=/var/lib/openvswitch
run_dir=/run/openvswitch

# In this order, so that nothing sees a part that it needs disappear. --restart keeps the Chassis, its tunnels and flows.
stop_daemons() {
    ovn-appctl -T 3 -t ovn-controller exit --restart || true
    ovs-appctl -T 3 -t ovs-vswitchd exit || true
    ovs-appctl -T 3 -t ovsdb-server exit || true
}

here=$(dirname "$0")
. "$here/daemons.sh"
. "$here/tunnel.sh"

vsctl() {
    ovs-vsctl --no-wait --timeout=10 "$@"
}

# flows_installed: ovn-controller has told the switch what to do. It does so in one bundle, so some flows means all.
flows_installed() {
    ovs-ofctl --timeout=3 dump-aggregate br-int 2>/dev/null | grep -q 'flow_count=[1-9]'
}

# The Chassis name of this node for ever. A file of its own, so that it outlives a database that had to be set aside.
system_id() {
    if [ ! -s "$db_dir/system-id" ]; then
        cat /proc/sys/kernel/random/uuid >"$db_dir/system-id.new"
        mv "$db_dir/system-id.new" "$db_dir/system-id"
    fi
    cat "$db_dir/system-id"
}

mkdir -p "$db_dir" "$run_dir" /run/ovn
# Sockets of a killed predecessor would pass for the new ones.
rm -f "$run_dir"/db.sock "$run_dir"/*.mgmt "$run_dir"/*.ctl /run/ovn/ovn-controller.*.ctl
prepare_database "$db_dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
run ovsdb-server "$db_dir/conf.db" --remote="punix:$run_dir/db.sock" --pidfile -vsyslog:off -vconsole:info
wait_for "the switch's database" test -S "$run_dir/db.sock"

vsctl init -- set Open_vSwitch . \
    external_ids:system-id="$(system_id)" \
    external_ids:hostname="$NODE_NAME" \
    external_ids:ovn-remote="\"$OVN_REMOTE\"" \
    external_ids:ovn-remote-probe-interval=10000 \
    external_ids:ovn-encap-type="$TUNNEL_TYPE" \
    external_ids:ovn-bridge-datapath-type="$DATAPATH" \
    external_ids:ovn-monitor-all="$MONITOR_ALL" \
    external_ids:ovn-match-northd-version=true \
    -- --may-exist add-br br-int \
    -- set Bridge br-int datapath_type="$DATAPATH" fail_mode=secure other_config:disable-in-band=true

# vswitchd keeps a few descriptors for each port.
# shellcheck disable=SC3045
ulimit -S -n "$(ulimit -H -n)"
if [ "$DATAPATH" = netdev ]; then
    describe_tunnel_bridge
    run ovs-vswitchd "unix:$run_dir/db.sock" --pidfile --disable-system -vsyslog:off -vconsole:info
    raise_tunnel_bridge
else
    # Where the module is built in, or loaded on demand, there is nothing to load by hand.
    [ -e /sys/module/openvswitch ] || modprobe openvswitch || true
    # The kernel goes on with the flows of the last run until this is lifted below.
    vsctl set Open_vSwitch . other_config:flow-restore-wait=true
    run ovs-vswitchd "unix:$run_dir/db.sock" --pidfile -vsyslog:off -vconsole:info
fi
encap_ip=$(tunnel_address)
vsctl set Open_vSwitch . external_ids:ovn-encap-ip="\"$encap_ip\""
wait_for "bridge br-int" test -S "$run_dir/br-int.mgmt"
# What policies log has a file of its own, which kube-ovn-cniserver reads; ovs-healthcheck.sh keeps it small.
run ovn-controller "unix:$run_dir/db.sock" --pidfile -vsyslog:off -vconsole:info \
    -vfile:off -vacl_log:file:info -vacl_log:console:off --log-file="$run_dir/acl.log"
if [ "$DATAPATH" = system ]; then
    # No deadline: without the Southbound database there are no new flows, and the old ones are the best there is.
    until flows_installed; do sleep 0.05; done
    vsctl remove Open_vSwitch . other_config flow-restore-wait
fi
wait
