#!/bin/sh
# Make the virtual environment. Says plainly what is missing instead of failing half-way.
set -eu

say() { printf '%s\n' "$*" >&2; }

pick_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

if ! python=$(pick_python); then
    seen=$(python3 --version 2>/dev/null || echo 'no python3 at all')
    say "rluf needs Python 3.11 or newer; found: $seen."
    say "Install one, or name it: make setup PYTHON=/path/to/python3.11"
    exit 2
fi

if [ ! -x "$VENV/bin/python" ]; then
    free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
    if [ "$free_mb" -lt "$DISK_NEEDED_MB" ]; then
        say "rluf needs $DISK_NEEDED_MB MB of free disk for its dependencies (torch's CUDA libraries are"
        say "most of it); this disk has $free_mb MB. Free some, or see the README for torch's CPU build"
        say "and then: make setup DISK_NEEDED_MB=2500"
        exit 2
    fi
    say "Making $VENV with $("$python" --version) ..."
    if ! "$python" -m venv "$VENV"; then
        rm -rf "$VENV"
        say "Could not make a virtual environment with $python."
        say "On Debian and Ubuntu it needs the package python3-venv."
        exit 2
    fi
fi

say "Installing the pinned dependencies (about 4 minutes the first time) ..."
install() { "$VENV/bin/python" -m pip install --quiet "$@"; }
if ! install 'pip>=25.1' 'setuptools>=77' || ! install -c constraints.txt -e . --group test --group check --group measure; then
    say "The installation failed: the lines above say why. It needs access to a Python package index and"
    say "free disk ($(df -Pm . | awk 'NR == 2 {print $4}') MB left here). Run the same command again to go on."
    exit 2
fi
