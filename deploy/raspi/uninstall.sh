#!/bin/sh
# Removes the service and its releases. Configuration, interlock log and unsent
# records stay unless --purge is given: the log belongs to the packs' history.
set -eu

root='' purge=no
while [ $# -gt 0 ]; do
    case $1 in
        --root)
            [ $# -ge 2 ] || { echo "uninstall.sh: --root needs a value" >&2; exit 2; }
            root=${2%/}
            shift 2
            ;;
        --purge) purge=yes; shift ;;
        --help)
            echo "Usage: uninstall.sh [--purge] [--root DIR]"
            echo "  --purge  also delete configuration, logs, unsent records and the user"
            echo "Example: sudo deploy/raspi/uninstall.sh"
            exit 0
            ;;
        *) echo "uninstall.sh: unknown option: $1" >&2; exit 2 ;;
    esac
done
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "uninstall.sh: run me as root, or with --root DIR" >&2
    exit 2
fi

if [ -z "$root" ]; then
    systemctl disable --now secondlife-ems.service 2>/dev/null || true
fi
rm -f "$root/etc/systemd/system/secondlife-ems.service" \
    "$root/etc/systemd/system.conf.d/10-watchdog.conf" \
    "$root/etc/systemd/journald.conf.d/10-secondlife-ems.conf" \
    "$root/etc/udev/rules.d/99-serial-latency.rules"
rm -rf "$root/opt/secondlife-ems"
if [ "$purge" = yes ]; then
    rm -rf "$root/etc/secondlife-ems" "$root/var/lib/secondlife-ems"
fi
if [ -z "$root" ]; then
    systemctl daemon-reload
    if [ "$purge" = yes ] && getent passwd ems >/dev/null; then
        userdel ems
    fi
fi
if [ "$purge" = yes ]; then
    echo "secondlife-ems: removed with its data"
else
    echo "secondlife-ems: removed; kept: $root/etc/secondlife-ems $root/var/lib/secondlife-ems"
fi
