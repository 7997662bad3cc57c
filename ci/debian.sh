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
