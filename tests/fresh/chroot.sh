#!/usr/bin/env bash
# Tries the repository's HEAD on a machine that has nothing: a minimal Debian in a chroot. By hand, as root, with debootstrap.
#
#   tests/fresh/chroot.sh [options] [COMMAND...]      each COMMAND is one string for bash; default: "bash run.sh demo" "bash test.sh"
#     --dir DIR        keep the chroot in DIR and use it again (default: a temporary folder, removed at the end)
#     --suite NAME     Debian's release (bookworm)
#     --packages LIST  on top of a minimal Debian (git,bash,python3,python3-venv,ca-certificates)
#     --user           run as an ordinary user instead of root
#     --worktree       take the files as they are now, committed or not, instead of HEAD
#     --offline        run without a network
# What the network needs (proxies, certificates, package indexes) is taken over from this machine.
set -euo pipefail

dir='' suite=bookworm packages=git,bash,python3,python3-venv,ca-certificates user=root worktree=0 offline=0
while (($#)); do
    case $1 in
        --dir) dir=$2 && shift ;;
        --suite) suite=$2 && shift ;;
        --packages) packages=$2 && shift ;;
        --user) user=tester ;;
        --worktree) worktree=1 ;;
        --offline) offline=1 ;;
        -*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 2 ;;
        *) break ;;
    esac
    shift
done
if (($# == 0)); then set -- "bash run.sh demo" "bash test.sh"; fi

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
((EUID == 0)) || die "run it as root: it makes a chroot"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt install debootstrap"

repo=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
temporary=0
if [[ -z $dir ]]; then
    dir=$(mktemp -d)
    chmod 755 -- "$dir"
    temporary=1
fi
mkdir -p -- "$dir"
dir=$(cd -- "$dir" && pwd -P)
[[ $dir != / ]] || die "--dir must not be /"

# shellcheck disable=SC2329  # by the trap
cleanup() {
    local mount
    # deepest first; nothing is deleted while anything is mounted below
    while read -r mount; do umount -l -- "$mount" || true; done < <(mounts_below | sort -r)
    if ((temporary)) && [[ -z $(mounts_below) ]]; then rm -rf --one-file-system -- "$dir"; fi
}
# shellcheck disable=SC2329
mounts_below() {
    awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Debian's mirror, as this machine's apt knows it.
mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN) $(SITE)' 2>/dev/null | awk '$1 == "Debian" { print $2; exit }'
}
host_mirror=$(mirror)

if [[ ! -e $dir/etc/debian_version ]]; then
    debootstrap --variant=minbase --include="$packages" "$suite" "$dir" ${host_mirror:+"$host_mirror"}
fi

home=/root
if [[ $user != root ]]; then
    home=/home/$user
    chroot "$dir" id "$user" >/dev/null 2>&1 || chroot "$dir" useradd -m "$user"
fi

# This machine's way to the network, found, not assumed: the resolver, certificates, and every existing local path that a
# variable or configuration file of the package tools names.
take_over() {
    local path=$1
    [[ -e $path && $path == /* && $path != / ]] || return 0
    mkdir -p -- "$dir$(dirname -- "$path")"
    if [[ -d $path ]]; then
        # a folder of packages may be large: mount it
        mkdir -p -- "$dir$path"
        mountpoint -q -- "$dir$path" || mount --bind -o ro -- "$path" "$dir$path"
    else
        cp -L -- "$path" "$dir$path"
    fi
}
network_variables() {
    env -0 | grep -zE '^([A-Za-z]+_[Pp][Rr][Oo][Xx][Yy]|SSL_CERT_(FILE|DIR)|[A-Z]+_CA_BUNDLE|GIT_SSL_CAINFO|PIP_[A-Z_]+|UV_[A-Z_]+)=' |
        grep -zvE '^UV_(CACHE_DIR|PYTHON)' || true
}
mapfile -d '' -t variables < <(network_variables)

for file in /etc/resolv.conf /etc/hosts; do take_over "$file"; done
mapfile -t configs < <(
    if command -v pip >/dev/null; then pip config debug 2>/dev/null | sed -n 's/^ *\(\/.*\), exists: True$/\1/p'; fi
    for file in /etc/uv/uv.toml "${XDG_CONFIG_HOME:-$HOME/.config}/uv/uv.toml"; do
        if [[ -e $file ]]; then printf '%s\n' "$file"; fi
    done
)
for file in "${configs[@]}"; do
    case $file in
        */uv.toml) install -D -m 644 -- "$file" "$dir/etc/uv/uv.toml" ;;
        "$HOME"/*) install -D -m 644 -- "$file" "$dir$home/.config/pip/pip.conf" ;;
        *) install -D -m 644 -- "$file" "$dir/etc/pip.conf" ;;
    esac
done
mapfile -t named < <(
    {
        if ((${#variables[@]})); then printf '%s\n' "${variables[@]#*=}"; fi
        if ((${#configs[@]})); then sed 's/^[^#=]*=//' -- "${configs[@]}"; fi
    } | tr ' ",' '\n' | sed -n 's/^file:\/\///; /^\/./p' | sort -u
)
for path in "${named[@]}"; do
    case $path in
        /etc/ssl/certs | /usr/* | /proc/* | /dev/*) ;; # its own
        *) take_over "$path" ;;
    esac
done
# certificates that were added to this machine
if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then
    mkdir -p -- "$dir/etc/ssl/certs"
    cp -L -- /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/"
fi

mount_once() { mountpoint -q -- "${!#}" || mount "$@"; }
mount_once -t proc proc "$dir/proc"
mount_once -t tmpfs -o mode=755 dev "$dir/dev"
mkdir -p -- "$dir/dev/shm" "$dir/dev/pts"
for device in null zero full random urandom tty; do
    touch -- "$dir/dev/$device"
    mount_once --bind "/dev/$device" "$dir/dev/$device"
done
mount_once -t tmpfs -o mode=1777 shm "$dir/dev/shm"
mount_once -t devpts -o newinstance,ptmxmode=0666 devpts "$dir/dev/pts"
ln -sf pts/ptmx "$dir/dev/ptmx"
ln -sfn /proc/self/fd "$dir/dev/fd"
for device in stdin:0 stdout:1 stderr:2; do ln -sf "/proc/self/fd/${device#*:}" "$dir/dev/${device%:*}"; done

# as a newcomer has it: a fresh clone, here in a path with a space
clone="$home/my apps/OneGAI"
rm -rf -- "${dir:?}$clone"
mkdir -p -- "$(dirname -- "$dir$clone")"
if ((worktree)); then
    mkdir -- "$dir$clone"
    git -C "$repo" ls-files -z --cached --others --exclude-standard | tar -C "$repo" --null -cf - --ignore-failed-read -T - |
        tar -C "$dir$clone" -xf -
    git -C "$dir$clone" -c init.defaultBranch=main init -q
    git -C "$dir$clone" add -A
else
    git clone -q --no-hardlinks -- "$repo" "$dir$clone"
fi
chroot "$dir" chown -R "$user" "$home"

run_inside() {
    local -a prefix=()
    if ((offline)); then prefix=(unshare -n); fi
    # shellcheck disable=SC2016
    "${prefix[@]+"${prefix[@]}"}" chroot "--userspec=$user" "$dir" env -i \
        HOME="$home" USER="$user" LOGNAME="$user" LANG=C.UTF-8 TERM="${TERM:-dumb}" SHELL=/bin/bash \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${variables[@]+"${variables[@]}"}" bash -c 'cd -- "$1" && eval "$2"' bash "$clone" "$1"
}

failed=0
for command in "$@"; do
    printf '\n==> %s: %s\n' "$user" "$command"
    started=$SECONDS
    code=0
    run_inside "$command" || code=$?
    printf '==> exit %d after %d s: %s\n' "$code" "$((SECONDS - started))" "$command"
    if ((code)); then failed=1; fi
done
exit "$failed"
