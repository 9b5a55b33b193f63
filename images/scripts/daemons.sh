# Sourced by the start scripts: database files, and daemons as children of the container's main shell.
# The script that sources this defines stop_daemons. When any daemon ends, so does the container; the kubelet starts it again.
# shellcheck shell=sh

# prepare_database FILE SCHEMA: leave a readable database of the shipped schema at FILE.
# What these files hold can be rebuilt, so a file that cannot be read is set aside rather than looped over for ever.
prepare_database() {
    # A schema that cannot be read is a fault of the image, and no reason to touch the database.
    ovsdb-tool schema-version "$2" >/dev/null
    if [ -e "$1" ] && ! upgrade_database "$1" "$2"; then
        echo "cannot use $1: moved to $1.damaged, starting with an empty database" >&2
        mv -f "$1" "$1.damaged"
    fi
    [ -e "$1" ] || ovsdb-tool create "$1" "$2"
}

# upgrade_database FILE SCHEMA: ovsdb-tool(1) says to compact before a conversion.
upgrade_database() {
    conversion=$(ovsdb-tool needs-conversion "$1" "$2") || return 1
    [ "$conversion" = no ] || { ovsdb-tool compact "$1" && ovsdb-tool convert "$1" "$2"; }
}

# wait_for WHAT TEST...: poll until TEST succeeds; give up after 30 seconds.
wait_for() {
    what=$1
    shift
    tries=600
    until "$@"; do
        tries=$((tries - 1))
        if [ "$tries" -le 0 ]; then
            echo "gave up waiting for $what" >&2
            return 1
        fi
        sleep 0.05
    done
}

# run COMMAND...: start a daemon in a child shell that tells the main shell when the daemon ends.
run() {
    (
        trap - EXIT USR1 TERM INT
        rc=0
        "$@" || rc=$?
        echo "$1 ended with status $rc" >&2
        kill -s USR1 $$ 2>/dev/null || true
    ) &
}

# finish STATUS: stop what runs, once, and leave.
finish() {
    trap '' USR1 TERM INT
    trap - EXIT
    stop_daemons || true
    exit "$1"
}

# A start that fails half way stops what runs already.
trap 'finish $?' EXIT
trap 'finish 1' USR1
trap 'finish 0' TERM INT
