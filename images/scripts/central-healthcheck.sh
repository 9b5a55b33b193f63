#!/bin/sh
# Probe of ovn-central: both databases answer and northd is at work.
set -eu

ovs-appctl -T 3 -t /run/ovn/ovnnb_db.ctl ovsdb-server/list-dbs >/dev/null
ovs-appctl -T 3 -t /run/ovn/ovnsb_db.ctl ovsdb-server/list-dbs >/dev/null
[ "$(ovn-appctl -T 3 -t ovn-northd status)" = "Status: active" ]
