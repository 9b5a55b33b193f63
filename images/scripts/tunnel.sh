# Sourced by start-ovs.sh: the address that tunnels use, and for the userspace datapath the bridge br-phy that takes over the NIC.
# shellcheck shell=sh
#
# The userspace switch reads the NIC with a packet socket, so the address has to move from the NIC to the bridge's own
# interface, and the kernel must no longer answer what arrives on the NIC. Addresses and routes are kept in external_ids
# of the bridge, from where a restarted container puts them back.

tunnel_bridge=br-phy
: "${run_dir:?set by start-ovs.sh}"

# addresses_of DEVICE: its global addresses with prefix lengths, one a line.
addresses_of() {
    ip -o address show dev "$1" scope global 2>/dev/null | awk '{ print $4 }'
}

# routes_of DEVICE: routes that an administrator put there, one a line; those that the kernel derives from addresses come by themselves.
routes_of() {
    for family in -4 -6; do
        ip "$family" route show dev "$1" | grep -v -e 'proto kernel' -e 'proto ra' -e '^fe80:' || true
    done
}

# tunnel_address: the first address of the device that carries the tunnels, without prefix length.
tunnel_address() {
    if [ "$DATAPATH" = netdev ]; then
        device=$tunnel_bridge
    elif [ -n "$TUNNEL_INTERFACE" ]; then
        device=$TUNNEL_INTERFACE
    else
        echo "$NODE_IP"
        return
    fi
    address=$(addresses_of "$device" | head -n 1)
    if [ -z "$address" ]; then
        echo "interface ${TUNNEL_INTERFACE:-$device} has no address for tunnels: give it one and wait" >&2
        return 1
    fi
    echo "${address%/*}"
}

# remembered KEY: what describe_tunnel_bridge stored, one item a line.
remembered() {
    vsctl --if-exists get Bridge "$tunnel_bridge" "external_ids:$1" | tr -d '"' | tr ';' '\n'
}

# describe_tunnel_bridge: before vswitchd runs, put the bridge into the database and note what the NIC carries.
describe_tunnel_bridge() {
    nic=$TUNNEL_INTERFACE
    if [ ! -e "/sys/class/net/$nic/address" ]; then
        echo "there is no tunnel interface \"$nic\"" >&2
        return 1
    fi
    vsctl set Open_vSwitch . other_config:userspace-tso-enable=true \
        -- --may-exist add-br "$tunnel_bridge" \
        -- set Bridge "$tunnel_bridge" datapath_type=netdev fail_mode=standalone external_ids:vendor=kube-ovn \
        other_config:hwaddr="\"$(cat "/sys/class/net/$nic/address")\"" \
        -- --may-exist add-port "$tunnel_bridge" "$nic" \
        -- set Port "$nic" external_ids:vendor=kube-ovn
    # After a restart the NIC is bare and the database knows; after a reboot the NIC has what the host configures now.
    if [ -n "$(addresses_of "$nic")" ]; then
        vsctl set Bridge "$tunnel_bridge" \
            external_ids:kube-ovn-addresses="\"$(addresses_of "$nic" | paste -s -d ';')\"" \
            external_ids:kube-ovn-routes="\"$(routes_of "$nic" | paste -s -d ';')\""
    fi
}

# raise_tunnel_bridge: once vswitchd has made the bridge's interface, move addresses and routes there and silence the NIC.
raise_tunnel_bridge() {
    wait_for "bridge $tunnel_bridge" test -e "/sys/class/net/$tunnel_bridge"
    nft -f - <<NFT
table netdev kube-ovn-tunnel
delete table netdev kube-ovn-tunnel
table netdev kube-ovn-tunnel {
    comment "$TUNNEL_INTERFACE belongs to the userspace switch: the kernel must not answer as well"
    chain ingress {
        type filter hook ingress device "$TUNNEL_INTERFACE" priority 0; policy drop;
    }
}
NFT
    ip link set dev "$TUNNEL_INTERFACE" up
    ip link set dev "$tunnel_bridge" up
    # A command that fails in a pipeline's loop would be lost: write both lists to files first.
    remembered kube-ovn-addresses >"$run_dir/$tunnel_bridge.addresses"
    remembered kube-ovn-routes >"$run_dir/$tunnel_bridge.routes"
    while read -r address; do
        case $address in
        "") ;;
        *:*) ip address replace "$address" dev "$tunnel_bridge" nodad ;;
        *) ip address replace "$address" dev "$tunnel_bridge" ;;
        esac
    done <"$run_dir/$tunnel_bridge.addresses"
    ip address flush dev "$TUNNEL_INTERFACE" scope global
    while read -r route; do
        # A route is several words, and "linkdown" is a remark of the kernel's, no option.
        # shellcheck disable=SC2086
        [ -z "$route" ] || ip route replace ${route%% linkdown*} dev "$tunnel_bridge"
    done <"$run_dir/$tunnel_bridge.routes"
}
