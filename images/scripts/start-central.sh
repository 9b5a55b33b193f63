#!/bin/sh
# Main process of ovn-central: Northbound and Southbound database and northd in one container.
#
#   LISTEN_ADDRESS   address of this node to listen on: 6641 Northbound, 6642 Southbound
#   PROBE_INTERVAL   milliseconds of silence after which a database asks a client whether it lives (default 60000)
#   BFD_INTERVAL     milliseconds between two BFD packets of chassis of which one may be a gateway (default 200)
#   BFD_MULTIPLIER   missing packets after which the other one is taken for dead (default 4)
set -eu

db_dir=/var/lib/ovn
run_dir=/run/ovn
schema_dir=/usr/share/ovn

stop_daemons() {
    ovn-appctl -T 3 -t ovn-northd exit || true
    ovs-appctl -T 3 -t "$run_dir/ovnnb_db.ctl" exit || true
    ovs-appctl -T 3 -t "$run_dir/ovnsb_db.ctl" exit || true
}

. "$(dirname "$0")/daemons.sh"

case $LISTEN_ADDRESS in
*:*) listen="[$LISTEN_ADDRESS]" ;;
*) listen=$LISTEN_ADDRESS ;;
esac

# start_database NAME PORT: NAME is ovnnb or ovnsb, as in the names of OVN's own sockets and files.
# Remotes come from a file because the command line offers no inactivity probe.
start_database() {
    prepare_database "$db_dir/$1_db.db" "$schema_dir/ovn-${1#ovn}.ovsschema"
    cat >"$run_dir/$1_db.json" <<JSON
{"remotes": {"punix:$run_dir/$1_db.sock": {},
             "ptcp:$2:$listen": {"inactivity-probe": ${PROBE_INTERVAL:-60000}}},
 "databases": {"$db_dir/$1_db.db": {}}}
JSON
    run ovsdb-server --config-file="$run_dir/$1_db.json" --unixctl="$run_dir/$1_db.ctl" --pidfile="$run_dir/$1_db.pid" \
        -vsyslog:off -vconsole:info
    wait_for "$1 database" test -S "$run_dir/$1_db.sock"
}

mkdir -p "$db_dir" "$run_dir"
# Sockets of a killed predecessor would pass for the new ones.
rm -f "$run_dir"/ovnnb_db.sock "$run_dir"/ovnsb_db.sock
start_database ovnnb 6641
start_database ovnsb 6642
# The database's own settings: no row of the fabric's, and so not the controller's business.
ovn-nbctl --no-leader-only --db="unix:$run_dir/ovnnb_db.sock" --no-wait set NB_Global . \
    options:bfd-min-tx="${BFD_INTERVAL:-200}" options:bfd-min-rx="${BFD_INTERVAL:-200}" \
    options:bfd-mult="${BFD_MULTIPLIER:-4}"
run ovn-northd --ovnnb-db="unix:$run_dir/ovnnb_db.sock" --ovnsb-db="unix:$run_dir/ovnsb_db.sock" \
    --pidfile -vsyslog:off -vconsole:info
wait
