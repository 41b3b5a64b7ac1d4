#!/bin/sh
# Installs secondlife-ems as a system service. Safe to run again: an update
# makes a new release directory and switches one link.
set -eu

usage() {
    cat <<'TEXT'
Usage: install.sh [options]

  --wheel PATH     wheel, or directory of wheels for an offline site
                   (default: build from the source tree this script lies in)
  --site FILE      site file to install when /etc/secondlife-ems has none yet
  --version NAME   name of the release directory (default: from pyproject.toml)
  --python PATH    interpreter of the release, 3.11 or newer (default: python3)
  --root DIR       install below DIR and leave the running system alone
  --no-venv        make the directories but no Python environment
  --no-start       do not start or restart the service
  --dry-run        say what would be done
  --help           this text

Example: sudo deploy/raspi/install.sh --site configs/sites/my-site.yaml
TEXT
}

fail() {
    echo "install.sh: $*" >&2
    exit 2
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source_dir=$(CDPATH='' cd -- "$here/../.." && pwd)
wheel='' site='' version='' python=python3 root='' venv=yes start=yes dry_run=no

while [ $# -gt 0 ]; do
    case $1 in
        --wheel | --site | --version | --python | --root)
            [ $# -ge 2 ] || fail "$1 needs a value"
            case $1 in
                --wheel) wheel=$2 ;;
                --site) site=$2 ;;
                --version) version=$2 ;;
                --python) python=$2 ;;
                --root) root=${2%/} ;;
            esac
            shift 2
            ;;
        --no-venv) venv=no; shift ;;
        --no-start) start=no; shift ;;
        --dry-run) dry_run=yes; shift ;;
        --help) usage; exit 0 ;;
        *) usage >&2; fail "unknown option: $1" ;;
    esac
done

if [ -z "$version" ]; then
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source_dir/pyproject.toml" | head -n 1)
fi
case $version in
    '' | */* | .*) fail "not a usable version: '$version'" ;;
esac
[ -z "$site" ] || [ -f "$site" ] || fail "no such site file: $site"
[ -z "$wheel" ] || [ -e "$wheel" ] || fail "no such wheel: $wheel"
if [ -z "$root" ] && [ "$dry_run" = no ] && [ "$(id -u)" != 0 ]; then
    fail "run me as root, or with --root DIR"
fi

opt=$root/opt/secondlife-ems
etc=$root/etc/secondlife-ems
data=$root/var/lib/secondlife-ems
units=$root/etc/systemd/system
release=$opt/releases/$version

run() {
    if [ "$dry_run" = yes ]; then
        echo "would run: $*"
    else
        "$@"
    fi
}

# On the running system things belong to root and the service; below --root to whoever asks.
give() {
    if [ -z "$root" ]; then
        run chown "$@"
    fi
}

make_user() {
    [ -z "$root" ] || return 0
    if ! getent group ems >/dev/null; then
        run groupadd --system ems
    fi
    if ! getent passwd ems >/dev/null; then
        run useradd --system --gid ems --home-dir /var/lib/secondlife-ems --no-create-home \
            --shell /usr/sbin/nologin ems
    fi
}

make_directories() {
    run mkdir -p "$opt/releases" "$etc" "$data" "$units" \
        "$root/etc/systemd/system.conf.d" "$root/etc/systemd/journald.conf.d" \
        "$root/etc/udev/rules.d"
    give root:ems "$etc"
    run chmod 0750 "$etc"
    give ems:ems "$data"
    run chmod 0750 "$data"
}

# The release is built under another name, so that a half-made one is never switched to.
make_release() {
    if [ -e "$release/.complete" ]; then
        echo "release $version is already installed"
        return 0
    fi
    run rm -rf "$release" "$release.new"
    run mkdir -p "$release.new"
    if [ "$venv" = yes ]; then
        fill_release
    fi
    run touch "$release.new/.complete"
    run mv "$release.new" "$release"
}

fill_release() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "$python is missing or older than 3.11: apt-get install python3 python3-venv"
    run "$python" -m venv "$release.new"
    pip="$release.new/bin/python -m pip install --quiet --disable-pip-version-check"
    if [ -z "$wheel" ]; then
        run $pip --require-hashes --requirement "$source_dir/requirements.lock"
        run $pip --no-deps --no-build-isolation "$source_dir"
    elif [ -d "$wheel" ]; then
        run $pip --no-index --find-links "$wheel" secondlife-ems
    else
        run $pip "$wheel"
    fi
    # The scripts of a venv name its directory: make them name the final one.
    if [ "$dry_run" = no ]; then
        for script in "$release.new"/bin/*; do
            if [ -f "$script" ] && [ ! -L "$script" ] && grep -Iq "$release.new" "$script"; then
                sed -i "s|$release.new|$release|g" "$script"
            fi
        done
    fi
}

# rename() replaces the link in one step: there is always a current release.
switch() {
    if [ "$(readlink "$opt/current" 2>/dev/null || true)" = "releases/$version" ]; then
        return 0
    fi
    if [ -L "$opt/current" ]; then
        run ln -sfn "$(readlink "$opt/current")" "$opt/previous"
    fi
    run ln -sfn "releases/$version" "$opt/current.new"
    run mv -fT "$opt/current.new" "$opt/current"
}

put() {
    run install -m "$1" "$2" "$3"
}

install_files() {
    put 0644 "$here/secondlife-ems.service" "$units/secondlife-ems.service"
    put 0644 "$here/10-watchdog.conf" "$root/etc/systemd/system.conf.d/10-watchdog.conf"
    put 0644 "$here/10-journal.conf" "$root/etc/systemd/journald.conf.d/10-secondlife-ems.conf"
    put 0644 "$here/99-serial-latency.rules" "$root/etc/udev/rules.d/99-serial-latency.rules"
    if [ -n "$site" ]; then
        if [ -e "$etc/site.yaml" ]; then
            echo "kept: $etc/site.yaml (the file given with --site was not installed)"
        else
            put 0640 "$site" "$etc/site.yaml"
            give root:ems "$etc/site.yaml"
        fi
    fi
    if [ ! -e "$etc/secrets.env" ]; then
        if [ "$dry_run" = yes ]; then
            echo "would create: $etc/secrets.env"
        else
            echo '# NAME=value lines for the environment names the site file mentions.' \
                >"$etc/secrets.env"
        fi
        run chmod 0640 "$etc/secrets.env"
        give root:ems "$etc/secrets.env"
    fi
}

activate() {
    [ -z "$root" ] || return 0
    run systemctl daemon-reload
    run systemctl enable secondlife-ems.service
    if [ "$start" = no ]; then
        return 0
    fi
    if [ ! -e "$etc/site.yaml" ] && [ "$dry_run" = no ]; then
        echo "not started: write $etc/site.yaml, then: systemctl start secondlife-ems"
        return 0
    fi
    run systemctl restart secondlife-ems.service
}

make_user
make_directories
make_release
switch
install_files
activate
echo "secondlife-ems $version: done"
