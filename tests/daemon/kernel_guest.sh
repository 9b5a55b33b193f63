#!/bin/bash
# Runs in the virtual machine of test_kernel_datapath.py, after /proc, /sys, /dev, /run and /tmp are there: two nodes as
# network namespaces joined by a bridge, ovn-central on the first. Prints lines "RESULT name value" for the test.
set -u
programs=/usr/local/lib/kube-ovn
mkdir -p "$programs" && cp /t/scripts/* "$programs"

result() { echo "RESULT $*"; }

# on NODE COMMAND...: become a process in the node's namespaces.
on() {
    local node=$1
    shift
    # shellcheck disable=SC2016
    exec nsenter --net="/run/netns/n$node" unshare --mount --propagation private bash -ec '
        for folder in run/openvswitch run/ovn var/lib/openvswitch; do
            mkdir -p "/d/$0/$folder" "/$folder"
            mount --bind "/d/$0/$folder" "/$folder"
        done
        mount -t sysfs sysfs /sys
        exec "$@"' "$node" "$@"
}

start_switch() {
    on "$1" env NODE_NAME="node$1" NODE_IP="192.0.2.1$1" OVN_REMOTE=tcp:192.0.2.11:6642 DATAPATH=system \
        TUNNEL_INTERFACE= TUNNEL_TYPE=geneve MONITOR_ALL=true "$programs/start-ovs.sh" >>"/tmp/ovs$1.log" 2>&1 &
    main[$1]=$!
}

in_switch() {
    local node=$1
    shift
    nsenter -t "${main[$node]}" -m -n "$@"
}

wait_until_ready() {
    for _ in $(seq 120); do
        in_switch "$1" "$programs/ovs-healthcheck.sh" ready >/dev/null 2>&1 && return
        sleep 0.25
    done
    result not-ready "$1"
    cat "/tmp/ovs$1.log"
}

modprobe veth
modprobe bridge
ip link set dev lo up
ip link add br0 type bridge
ip link set dev br0 up
for node in 1 2; do
    ip netns add n$node
    ip link add t$node type veth peer name eth0 netns n$node
    ip link set dev t$node master br0 up
    ip -n n$node link set dev lo up
    ip -n n$node link set dev eth0 up
    ip -n n$node address add 192.0.2.1$node/24 dev eth0
done
result module-before "$(lsmod | grep -c '^openvswitch ')"
nsenter --net=/run/netns/n1 env LISTEN_ADDRESS=192.0.2.11 "$programs/start-central.sh" >/tmp/central.log 2>&1 &
start_switch 1
start_switch 2
wait_until_ready 1
wait_until_ready 2
result module-after "$(lsmod | grep -c '^openvswitch ')"

nsenter --net=/run/netns/n1 ovn-nbctl --db=tcp:192.0.2.11:6641 ls-add s \
    -- lsp-add s p1 -- lsp-set-addresses p1 "02:00:00:00:00:01 10.5.0.1" \
    -- lsp-add s p2 -- lsp-set-addresses p2 "02:00:00:00:00:02 10.5.0.2" -- acl-add s to-lport 1000 icmp allow-related
for node in 1 2; do
    in_switch $node ovs-vsctl add-port br-int p$node -- set Interface p$node type=internal \
        external_ids:iface-id=p$node mac="\"02:00:00:00:00:0$node\""
    ip -n n$node address add 10.5.0.$node/24 dev p$node
    ip -n n$node link set dev p$node mtu 1400 up  # as Pods have it, below that of the tunnel
done
for _ in $(seq 60); do
    ip netns exec n1 ping -c 1 -W 1 10.5.0.2 >/dev/null && break
done

# A Service at a UDP port of p2, asked with one datagram per port of the client: smaller and larger than the MTU.
nsenter --net=/run/netns/n1 ovn-nbctl --db=tcp:192.0.2.11:6641 --wait=hv lb-add udp 10.5.9.9:5300 10.5.0.2:5300 udp \
    -- ls-lb-add s udp
for node in 1 2; do
    ip -n n$node route add 10.5.9.9/32 dev p$node
    ip -n n$node neighbour add 10.5.9.9 lladdr 02:00:00:00:00:02 dev p$node
done
ip netns exec n2 python3 /t/udp.py serve &
server=$!
for size in 100 4000; do
    result "udp-$size" "$(ip netns exec n1 python3 /t/udp.py ask $size)"
done
kill $server

result datapath "$(in_switch 1 ovs-vsctl get Bridge br-int datapath_type)"
result tunnel "$(in_switch 1 ovs-appctl dpif/show | grep -c geneve:)"

for signal in TERM KILL; do
    ip netns exec n2 ping -i 0.05 -c 160 10.5.0.1 >/tmp/ping.log &
    ping=$!
    sleep 2
    if [ $signal = TERM ]; then
        kill -TERM "${main[1]}"
    else
        kill -KILL "$(in_switch 1 cat /run/openvswitch/ovs-vswitchd.pid)"
    fi
    wait "${main[1]}"
    result "end-$signal" $?
    sleep 0.5
    start_switch 1
    wait $ping
    result "received-$signal" "$(sed -n 's/.* \([0-9]*\) received.*/\1/p' /tmp/ping.log)"
    wait_until_ready 1
done
result finished yes
