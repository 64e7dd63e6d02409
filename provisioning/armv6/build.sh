#!/bin/bash
# Builds sectd for the Raspberry Pi Zero (ARMv6, hard float): one static binary, on any Debian 12 or later on amd64.
#
#   provisioning/armv6/build.sh [FOLDER]     puts sectd into FOLDER, target/armv6 if not given
#
# SECT_BOARD_TARGET=x86_64-unknown-linux-musl makes the same for this machine: to look at, and to measure.
#
# Debian's own armhf is ARMv7 and dies with SIGILL on a Zero, and rustup may not be at hand. So the compiler
# and the sources of its standard library come from Debian (rustc-web, cargo-web, rust-web-src), the C
# compiler and musl from zig (PyPI). They are unpacked into a folder of their own and installed nowhere:
# $SECT_ARMV6_CACHE, ~/.cache/sect-armv6 if not set.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-target/armv6}
cache=${SECT_ARMV6_CACHE:-$HOME/.cache/sect-armv6}
target=${SECT_BOARD_TARGET:-arm-unknown-linux-musleabihf}
mkdir -p "$out" "$cache"
say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }

# Programs that the steps below need; each is one Debian package.
missing=()
for pair in readelf:binutils python3:python3 perl:perl make:make qemu-arm-static:qemu-user-static; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null ||
        { "${root[@]}" apt-get update -qq; "${root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
fi

# The compiler, with everything that it is linked to, unpacked aside.
if ! [ -x "$cache/rust/usr/bin/rustc" ]; then
    say "fetching the Rust compiler and the sources of its library (about 150 MB)"
    rm -rf "$cache/rust.new" "$cache/deb"
    mkdir -p "$cache/rust.new" "$cache/deb"
    # What they are linked to, as far as no Debian is without it.
    packages=(rustc-web cargo-web rust-web-src)
    for ((i = 0; i < ${#packages[@]}; i++)); do
        for dependency in $(apt-cache depends "${packages[i]}" | sed -n 's/^ *Depends: \(lib[a-z0-9.+-]*\)$/\1/p'); do
            case " libc6 libc6-dev libgcc-s1 libstdc++6 zlib1g ${packages[*]} " in
            *" $dependency "*) ;;
            *) packages+=("$dependency") ;;
            esac
        done
    done
    (cd "$cache/deb" && apt-get download -qq "${packages[@]}")
    for package in "$cache"/deb/*.deb; do dpkg -x "$package" "$cache/rust.new"; done
    rm -rf "$cache/deb"
    mv "$cache/rust.new" "$cache/rust"
fi
if ! [ -x "$cache/venv/bin/cargo-zigbuild" ]; then
    say "fetching the C compiler"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --disable-pip-version-check ziglang==0.15.2 cargo-zigbuild==0.23.0
fi

export LD_LIBRARY_PATH="$cache/rust/usr/lib/x86_64-linux-gnu"
export PATH="$cache/venv/bin:$PATH"
export RUSTC="$cache/rust/usr/bin/rustc" CARGO="$cache/rust/usr/bin/cargo" RUSTC_BOOTSTRAP=1
export CARGO_ZIGBUILD_PYTHON_PATH="$cache/venv/bin/python" CARGO_TARGET_DIR="$cache/target"
# An OpenSSL with what SecT uses, and no tables for unwinding: a panic ends the daemon, and systemd starts it again.
# For the same reason the standard library comes without what draws a backtrace. SHA-512 in loops: written out it is
# 40 KiB of code, and the board's instruction cache has 16; other processors have instructions for it.
OPENSSL_SRC_PERL=$PWD/provisioning/small-sectd.sh
RUSTFLAGS="${RUSTFLAGS:-} -Cforce-unwind-tables=no --cfg=sha2_backend_soft=\"compact\""
# A SQLite without full-text search, geometry, statistics, JSON, calendar and what else no statement here asks for.
LIBSQLITE3_FLAGS='-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE
    -USQLITE_ENABLE_DBSTAT_VTAB -USQLITE_ENABLE_LOAD_EXTENSION -USQLITE_ENABLE_STAT4 -USQLITE_ENABLE_MEMORY_MANAGEMENT
    -USQLITE_ENABLE_API_ARMOR -USQLITE_ENABLE_COLUMN_METADATA -USQLITE_SOUNDEX
    -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_DEPRECATED -DSQLITE_OMIT_TRACE -DSQLITE_OMIT_SHARED_CACHE
    -DSQLITE_OMIT_AUTHORIZATION -DSQLITE_OMIT_COMPILEOPTION_DIAGS -DSQLITE_OMIT_COMPLETE -DSQLITE_OMIT_DATETIME_FUNCS
    -DSQLITE_OMIT_DECLTYPE -DSQLITE_OMIT_GET_TABLE -DSQLITE_OMIT_INCRBLOB -DSQLITE_OMIT_JSON
    -DSQLITE_OMIT_PROGRESS_CALLBACK -DSQLITE_OMIT_UTF16 -DSQLITE_UNTESTABLE'
export "CFLAGS_${target//-/_}=-fno-asynchronous-unwind-tables -fno-unwind-tables"
export OPENSSL_SRC_PERL RUSTFLAGS LIBSQLITE3_FLAGS
# Cargo does not see what is in that script: another one is another OpenSSL.
options=$(sha256sum <"$OPENSSL_SRC_PERL")
if [ "$(cat "$cache/openssl-options-$target" 2>/dev/null)" != "$options" ]; then
    "$CARGO" clean --quiet --profile board --target "$target" -p openssl-sys
    printf '%s\n' "$options" >"$cache/openssl-options-$target"
fi
say "building sectd for $target (5 minutes the first time, most of it OpenSSL)"
cargo-zigbuild rustc --profile board --locked --target "$target" \
    -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size \
    --no-default-features --features thing --bin sectd -- -Clink-self-contained=no
install -m 755 "$cache/target/$target/board/sectd" "$out/sectd"

# What goes onto a board is proved first: the instruction set, the size, and that it runs on that processor.
unset LD_LIBRARY_PATH
size=$(stat -c %s "$out/sectd")
if readelf -d "$out/sectd" | grep -q NEEDED; then say "not static"; exit 1; fi
if [ "$target" != arm-unknown-linux-musleabihf ]; then
    say "$out/sectd: $target, static, $size bytes"
    exit
fi
attributes=$(readelf -A "$out/sectd")
grep -q 'Tag_CPU_arch: v6' <<<"$attributes" || { say "not ARMv6: $(grep Tag_CPU_arch <<<"$attributes")"; exit 1; }
grep -q 'Tag_ABI_VFP_args: VFP registers' <<<"$attributes" || { say "not hard float"; exit 1; }
if ((size > 6 * 1024 * 1024)); then say "too large: $size bytes, at most 6 MiB"; exit 1; fi
qemu-arm-static -cpu arm1176 "$out/sectd" --version
say "$out/sectd: ARMv6, static, $size bytes"
