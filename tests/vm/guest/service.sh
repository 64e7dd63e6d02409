# A real systemd inside the guest, beside the scenario, with the plug's own service.
# shellcheck shell=bash source=tests/vm/guest/prelude.sh

# service SETTINGS: starts systemd, and by it sectd with these settings and nothing else. Its log is /tmp/sectd.log.
service() {
    local folder=/etc/systemd/system
    mount -t cgroup2 none /sys/fs/cgroup
    cp /repo/systemd/sectd.service "$folder"
    # What a whole machine starts before it, and the network that this plug does not ask for.
    ln -s /dev/null "$folder/NetworkManager.service"
    mkdir -p "$folder/sectd.service.d" /etc/sect
    cat >"$folder/sectd.service.d/guest.conf" <<END
[Unit]
DefaultDependencies=no
[Service]
ExecStart=
ExecStart=/usr/local/bin/sectd
StandardOutput=append:/tmp/sectd.log
StandardError=inherit
END
    cp "$1" /etc/sect/sectd.toml
    touch /tmp/sectd.log
    container=scenario SYSTEMD_GENERATOR_PATH=/none SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=warning SYSTEMD_COLORS=0 TERM=dumb \
        unshare --fork --pid --mount-proc --kill-child /usr/lib/systemd/systemd --system --unit=sectd.service --show-status=no &
    unshared=$!
    soon "systemd is there" pgrep -x systemd -P $unshared
    soon "the service is active" systemctl is-active sectd
}

# systemd answers nobody whose process it cannot see.
systemctl() { nsenter --pid --mount --target "$(pgrep -x systemd -P "$unshared")" systemctl "$@"; }

# The daemon's process, as the scenario sees it.
daemon() { pgrep -x sectd; }
