# What the emulations in tests/vm and tests/pi stand on, to be sourced: programs, trees and kernels from Debian.
#
# Nothing of it is installed on the machine, but for two small packages. It lies in $SECT_VM_CACHE
# (~/.cache/sect-vm if not set), 0.8 GB at most, and is made anew when the recipe below changes.
# shellcheck shell=bash

cache=${SECT_VM_CACHE:-$HOME/.cache/sect-vm}
mirror=${SECT_VM_MIRROR:-http://deb.debian.org/debian}

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# need PROGRAM:PACKAGE...: installs the packages whose programs are missing.
need() {
    local pair missing=()
    for pair; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null ||
        { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
}

# cached NAME [FILE...]: the folder $cache/NAME, made by the function make_NAME unless this very recipe, with
# these files, has made it.
cached() {
    local name=$1 recipe began=$SECONDS
    shift
    recipe=$({ declare -f "make_$name" tree packages && cat "$@" </dev/null; } | sha256sum)
    mkdir -p "$cache"
    # Two runs at a time: the second one finds what the first one has made.
    exec {lock}>"$cache/lock"
    flock "$lock"
    if [ "$(cat "$cache/$name.recipe" 2>/dev/null)" != "$recipe" ]; then
        say "making $cache/$name"
        rm -rf "${cache:?}/$name" "$cache/$name.new" "$cache/$name.recipe"
        "make_$name" "$cache/$name.new"
        mv "$cache/$name.new" "$cache/$name"
        printf '%s\n' "$recipe" >"$cache/$name.recipe"
        say "made $name: $(du -sh "$cache/$name" | cut -f1) in $((SECONDS - began)) s"
    fi
    exec {lock}>&-
}

# tree FOLDER VARIANT ARCHITECTURE PACKAGE...: Debian trixie with these packages, in a folder.
tree() {
    local folder=$1 variant=$2 architecture=$3
    shift 3
    local IFS=,
    mmdebstrap --quiet --variant="$variant" --architectures="$architecture" --include="$*" trixie "$folder" "$mirror"
}

# packages FOLDER SUITE ARCHITECTURE PACKAGE PATTERN: unpacks those packages that PACKAGE depends on, at any
# remove, and that the pattern matches. So the newest kernel is found by the name that stays the same.
packages() {
    local folder=$1 suite=$2 architecture=$3 package=$4 pattern=$5 apt=$1/apt found archive
    mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial
    : >"$apt/status"
    printf 'deb [signed-by=%s] %s %s main\n' /usr/share/keyrings/debian-archive-keyring.gpg "$mirror" "$suite" >"$apt/sources"
    cat >"$apt/conf" <<END
Dir::State "$apt"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources"; Dir::Etc::sourceparts "-";
APT::Architecture "$architecture"; APT::Architectures { "$architecture"; };
APT::Sandbox::User "root";
END
    APT_CONFIG=$apt/conf apt-get update -qq
    found=$(APT_CONFIG=$apt/conf apt-cache depends --recurse --important "$package" | grep -xE "$pattern" | sort -u)
    # Unquoted: one package for each word.
    # shellcheck disable=SC2086
    (cd "$apt" && APT_CONFIG=$apt/conf apt-get download -qq $found)
    for archive in "$apt"/*.deb; do dpkg -x "$archive" "$folder"; done
    rm -rf "$apt"
}

# QEMU 10, for x86-64 and for the Raspberry Pi, whatever the machine itself has; and a busybox that needs nothing.
make_tools() { tree "$1" extract "$(dpkg --print-architecture)" busybox-static qemu-system-x86 qemu-system-arm socat; }
busybox=$cache/tools/usr/bin/busybox

# tool SECONDS PROGRAM ARGUMENT...: becomes one of them, for so long at most. It runs with its own libraries, so
# that nothing has to be mounted, and ends with the shell that started it.
tool() {
    local seconds=$1 program=$2 usr=$cache/tools/usr
    shift 2
    exec setpriv --pdeathsig TERM timeout "$seconds" \
        "$usr"/lib64/ld-linux-* --library-path "$(echo "$usr"/lib/*-linux-gnu)" "$usr/bin/$program" "$@"
}

# modules FOLDER KERNEL MODULE...: these modules of the kernel and what they need, in the order of loading, unpacked.
modules() {
    local folder=$1 kernel=$2 number=10 file name
    shift 2
    mkdir -p "$folder"
    for file in $(for name; do
        modprobe -d "$kernel" -S "$(ls "$kernel/lib/modules")" --show-depends "$name"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
        number=$((number + 1))
        "$busybox" xz -dc "$file" >"$folder/$number-$(basename "$file" .xz)"
    done
}

# archive FOLDER FILE: the folder as the kernel unpacks it into memory.
archive() { (cd "$1" && find . | "$busybox" cpio -o -H newc) >"$2" 2>/dev/null; }

# Each line with the seconds since the start; serial lines end like those of a teletype.
timed() {
    local line began=${EPOCHREALTIME/[.,]/} now
    while IFS= read -r line; do
        now=$(((${EPOCHREALTIME/[.,]/} - began) / 100000))
        printf '%4d.%d  %s\n' $((now / 10)) $((now % 10)) "${line%$'\r'}"
    done
}
