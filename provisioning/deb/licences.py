#!/usr/bin/env python3
"""Whose work is in the program of a package: writes its `copyright` (DEP-5) and the licence texts of all its parts.

    licences.py PROGRAM TRIPLE OUT [PART=VERSION=LICENCE=FILE ...]

Cargo says which crates are linked; a part that is no crate (OpenSSL, musl) is named with its licence file.
"""

import json
import subprocess
import sys
from pathlib import Path

# In DEP-5 as in Debian: the licences that every Debian has on disk, or that are short enough to stand here.
DEBIAN_NAMES = {"MIT": "Expat"}
ON_DISK = {"Apache-2.0": "Apache-2.0", "MPL-2.0": "MPL-2.0", "CC0-1.0": "CC0-1.0"}
NOTICES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE", "AUTHORS")
# The feature of each program.
FEATURES = {"sectd": "thing", "sect": "controller", "sect-cloud": "cloud"}
# Public domain, so that there is no licence file: https://www.sqlite.org/copyright.html
SQLITE = "libsqlite3-sys"


def linked(program, triple):
    """The crates of a program, as (name, version); what runs at build time alone is not in it."""
    tree = subprocess.run(
        ["cargo", "tree", "--locked", "--edges", "normal,no-proc-macro", "--no-default-features", "--features",
         FEATURES[program], "--target", triple, "--prefix", "none", "--format", "{p}"],
        check=True, capture_output=True, text=True).stdout
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    return sorted((name, version.removeprefix("v")) for name, version in crates if name != "sect")


def metadata():
    """What Cargo knows of every crate, by name and version."""
    text = subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1"],
                          check=True, capture_output=True, text=True).stdout
    return {(crate["name"], crate["version"]): crate for crate in json.loads(text)["packages"]}


def synopsis(expression):
    """An SPDX expression in the words of DEP-5."""
    words = expression.replace("/", " OR ").replace("(", "( ").replace(")", " )").split()
    spoken = [DEBIAN_NAMES.get(word, {"OR": "or", "AND": "and", "WITH": "with"}.get(word, word)) for word in words]
    return " ".join(spoken).replace(" with LLVM-exception", " with LLVM-exception exception")


def notices(folder):
    """The licence files of a crate."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(NOTICES))


def indented(text):
    """A text as the continuation lines of a field."""
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.strip().splitlines())


def main():
    program, triple, out, *parts = sys.argv[1:]
    out, known = Path(out), metadata()
    elsewhere = f" The text stands with each part that has it, in /usr/share/doc/{program}/licences.txt.gz."
    own = Path("LICENSE-MIT").read_text()
    paragraphs = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: SecT\n"
        f"Comment: {program} is one program, and what it uses is linked into it. The folders named vendor/ are those that\n"
        " `cargo vendor` makes of the source's Cargo.lock. The licence files of all parts, with their own copyright\n"
        f" notices, are in /usr/share/doc/{program}/licences.txt.gz.",
        "Files: *\nCopyright: 2026 The SecT authors\nLicense: Apache-2.0 or Expat",
    ]
    texts, expressions = {}, ["Apache-2.0 OR MIT"]

    def add(folder, holder, expression, files):
        expressions.append(expression)
        paragraphs.append(f"Files: {folder}/*\nCopyright: {holder}\nLicense: {synopsis(expression)}")
        for file in files:
            texts.setdefault(file.read_text(errors="replace").strip(), []).append(f"{folder}/{file.name}")

    for name, version in linked(program, triple):
        crate = known[name, version]
        files = notices(Path(crate["manifest_path"]).parent)
        holder = ", ".join(crate["authors"]) or f"The {name} developers"
        if crate["license"] is None:
            sys.exit(f"licences.py: {name} {version} names no licence")
        add(f"vendor/{name}-{version}", holder, crate["license"], files)
        if name == SQLITE:
            paragraphs.append(f"Files: vendor/{name}-{version}/sqlite3/*\nCopyright: none, it is in the public domain\n"
                              "License: public-domain\n The author disclaims copyright to this source code.")
    for part in parts:
        name, version, expression, file = part.split("=")
        add(f"{name}-{version}", f"The {name} authors", expression, [Path(file)])

    # Each licence once, by its text or by where Debian has it.
    single = {word for expression in expressions for word in synopsis(expression).replace("(", "").replace(")", "").split()
              if word not in ("or", "and", "with", "exception", "LLVM-exception")}
    for name in sorted(single):
        if name in ON_DISK:
            body = f" On Debian the text is in /usr/share/common-licenses/{name}."
        elif name == "Expat":
            body = indented(own.split("\n\n", 2)[2])
        else:
            body = elsewhere
        paragraphs.append(f"License: {name}\n{body}")
    if any("LLVM-exception" in expression for expression in expressions):
        paragraphs.append(f"License: Apache-2.0 with LLVM-exception exception\n{elsewhere}")

    (out / "copyright").write_text("\n\n".join(paragraphs) + "\n")
    line = "=" * 78
    (out / "licences.txt").write_text("\n".join(
        f"{line}\n" + "\n".join(names) + f"\n{line}\n\n{text}\n" for text, names in texts.items()))


if __name__ == "__main__":
    main()
