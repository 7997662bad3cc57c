# Sourced by the scripts beside it.

# from_debian WHAT PACKAGE...: installs what is missing, or says clearly that it cannot.
from_debian() {
    local what=$1
    shift
    if ! command -v apt-get >/dev/null || [[ $(id -u) -ne 0 ]]; then
        echo "$0: $what is missing, and can be installed here only on Debian as root: apt-get install $*" >&2
        return 1
    fi
    echo "installing $what"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    apt-get install --yes --no-install-recommends "$@"
}

# program_from_debian WHAT SERVICE PACKAGE...: the same for a package that brings a service, which nobody needs here.
program_from_debian() (
    what=$1 service=$2 policy=/usr/sbin/policy-rc.d
    shift 2
    # This is Debian's way to say that no service may be started.
    if [[ -d ${policy%/*} && -w ${policy%/*} && ! -e $policy ]]; then
        trap 'rm -f -- "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    from_debian "$what" "$@"
    # Nor when the machine starts the next time.
    if command -v systemctl >/dev/null; then
        systemctl disable "$service" || true
    fi
)
