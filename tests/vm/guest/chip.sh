# A chip of simulated lines: what a line has is seen from the kernel's side, and pulled from there.
# shellcheck shell=bash source=tests/vm/guest/prelude.sh

chip='' lines=''

# chip: makes it; its name is $chip then.
chip() {
    local bank=/sys/kernel/config/gpio-sim/board/bank
    modprobe gpio-sim
    mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
    mkdir -p "$bank"
    echo 54 >"$bank/num_lines"
    echo 1 >"$bank/../live"
    chip=$(cat "$bank/chip_name")
    lines=/sys/devices/platform/$(cat "$bank/../dev_name")/$chip
}

# unplug: the chip is gone, whoever has its lines open.
unplug() { echo 0 >/sys/kernel/config/gpio-sim/board/live; }

# level LINE: its voltage, whatever that means.
level() { cat "$lines/sim_gpio$1/value"; }

# pull LINE up|down...: one after the other, as fast as it can.
pull() {
    local line=$1 direction
    shift
    for direction; do echo "pull-$direction" >"$lines/sim_gpio$line/pull"; done
}

# unmoved LINE LEVEL COMMAND...: the line has this level all the time that the command takes.
unmoved() {
    local line=$1 level=$2 watcher seen
    shift 2
    rm -f /tmp/seen
    python3 /vm/guest/watch.py "$lines/sim_gpio$line/value" /tmp/seen &
    watcher=$!
    soon "somebody watches it" [ -e /tmp/seen ]
    "$@"
    kill "$watcher"
    wait "$watcher"
    { read -r seen && read -r looks; } </tmp/seen
    is "line $line, looked at $looks times" "$level" "$seen"
    ((looks > 1000)) || fail "that was not often"
}
