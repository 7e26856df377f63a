#!/bin/sh
# Installs programs that the tests run and PyPI lacks: `sh tests/debian.sh PROGRAM=PACKAGE …`. Those that are there
# already, whoever installed them, are left alone. No service is started, and none is enabled.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair#*=}"
done
test -n "$missing" || exit 0
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
if test "$(id -u)" != 0 || ! command -v apt-get >/dev/null; then
    echo "the tests need what is not installed, and only root can do it here: sudo apt-get install $missing" >&2
    exit 1
fi
echo "installing from Debian for the tests (once): $missing"
policy=/usr/sbin/policy-rc.d
if ! test -e $policy; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
fi
apt-get update -qq
# RUNLEVEL=1 tells the packages' scripts the same where no policy is asked.
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
command -v systemctl >/dev/null || exit 0
for package in $missing; do
    case $package in
    rabbitmq-server) services="rabbitmq-server.service epmd.service epmd.socket" ;;
    prometheus) services=prometheus.service ;;
    *) continue ;;
    esac
    systemctl --quiet disable $(test ! -d /run/systemd/system || echo --now) $services 2>/dev/null ||
        echo "could not disable what $package starts with the machine: systemctl disable --now $services" >&2
done
