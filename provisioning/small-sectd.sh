#!/bin/sh
# Builds `sectd` for a plug as small as it gets:
#
#     provisioning/small-sectd.sh [cargo options, such as --target]
#
# It leaves out of OpenSSL what SecT never uses: the local server speaks TLS 1.3 with X25519 and AES-GCM or
# ChaCha20-Poly1305, and nothing else. The result lies under target/small/.
#
# The crate that builds OpenSSL runs `$OPENSSL_SRC_PERL ./Configure ...` and has no other door for options.
# This script is that perl as well.
set -eu

# Old protocols, other ciphers, hashes and signatures, and what is no TLS at all. Errors are numbers without words.
# -Os comes after the crate's own -O2; hot loops are assembly and stay as they are.
without='
    no-dtls no-engine no-nextprotoneg no-quic no-srp no-srtp no-ssl-trace no-tls1 no-tls1_1 no-tls1_2
    no-aria no-bf no-camellia no-cast no-cmac no-des no-idea no-multiblock no-ocb no-rc2 no-rc4 no-seed no-siv no-sm4
    no-argon2 no-blake2 no-md4 no-mdc2 no-rmd160 no-scrypt no-siphash no-sm3 no-whirlpool
    no-dh no-dsa no-ec2m no-gost no-lms no-ml-dsa no-ml-kem no-slh-dsa no-sm2
    no-apps no-autoload-config no-cmp no-cms no-ct no-docs no-http no-ocsp no-rfc3779 no-ts no-ui-console
    no-default-thread-pool no-err no-integrity-only-ciphers no-ktls no-sslkeylog no-thread-pool
    -DOPENSSL_SMALL_FOOTPRINT -Os -fno-asynchronous-unwind-tables -fno-unwind-tables
'

if [ "${1:-}" = ./Configure ]; then
    # Unquoted: one option for each word.
    # shellcheck disable=SC2086
    exec perl "$@" $without
fi

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
OPENSSL_SRC_PERL=$here/small-sectd.sh
# Addresses that the loader adjusts take two bytes where they took 24 (glibc 2.36 or later).
RUSTFLAGS="${RUSTFLAGS:-} -C link-arg=-Wl,-z,pack-relative-relocs"
export OPENSSL_SRC_PERL RUSTFLAGS

cd "$here/.."
exec cargo build --locked --release --no-default-features --features thing --bin sectd --target-dir target/small "$@"
