#!/usr/bin/env bash
# Runs the README's two commands as a new user would: in an empty Debian that has git, make and
# python3, cloned from HEAD, as root and as a user who may install nothing. Prints how long each
# took, the first time and again. Needs root, 8 GB of disk and, for everything, about an hour.
#
#   tools/check_fresh.sh [--only demo|test|gpu] [--as root|user] [--suite SUITE] [--folder /var/tmp]
#
# SUITE is bookworm, or trixie with --only gpu. That runs the tests for GPUs as root where there is
# none: llama.cpp is compiled with its Vulkan backend, and Mesa's lavapipe, a Vulkan device in
# software, is listed twice, so that llama.cpp finds two GPUs. It takes half an hour on two cores.
#
# The Debian lives in a temporary folder, in mount and process namespaces of its own: nothing is
# mounted outside them, and when they end the mounts are gone, before the folder is removed. What
# apt and pip need to know of this machine (proxies, certificates, indexes) is carried over.
set -euo pipefail

usage() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; }

source=$(cd "$(dirname "$0")/.." && pwd)
only="" as="" suite="" folder=${TMPDIR:-/var/tmp}
while (($#)); do
  case $1 in
    --only | --as | --suite | --folder) declare "${1#--}=${2?$1 needs a value}" && shift 2 ;;
    --help | -h) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
done
[[ $only =~ ^(|demo|test|gpu)$ && $as =~ ^(|root|user)$ ]] || { usage >&2 && exit 2; }
if [[ $only == gpu ]]; then
  [[ $as != user ]] || { usage >&2 && exit 2; }
  as=root
  : "${suite:=trixie}"
fi
: "${suite:=bookworm}"

say() { echo "check_fresh: $*"; }
fail() { say "FAILED: $*" >&2 && exit 1; }

# --- outside: the temporary folder, and the namespaces in which everything else runs ---
if [[ ${SPECBRANCH_FRESH_WORK-} == "" ]]; then
  [[ $(id -u) == 0 ]] || fail "this needs root (chroot and mounts of its own)"
  if ! command -v debootstrap >/dev/null; then
    apt-get update -q
    apt-get install -y -q --no-install-recommends debootstrap
  fi
  work=$(mktemp -d "$folder/specbranch_fresh.XXXXXX")
  # --one-file-system: should a mount be left against all expectation, it is not emptied.
  trap 'rm -rf --one-file-system "$work"' EXIT
  trap 'exit 130' INT TERM
  SPECBRANCH_FRESH_WORK=$work unshare --mount --pid --fork --kill-child --propagation private \
    "$BASH" "$0" --only "$only" --as "$as" --suite "$suite"
  exit
fi
work=$SPECBRANCH_FRESH_WORK

# --- inside ---
mirror() { # where this machine gets the suite from, or Debian at all; empty: debootstrap's choice
  apt-get indextargets --format '$(RELEASE) $(REPO_URI) $(ORIGIN)' 'Created-By: Packages' \
    2>/dev/null | awk -v suite="$suite" '
      $1 == suite { of_suite = of_suite ? of_suite : $2 }
      $3 == "Debian" && $1 !~ /-/ { of_debian = of_debian ? of_debian : $2 }
      END { print of_suite ? of_suite : of_debian }'
}

pip_files() { # the configuration files of pip
  local file
  for file in "${PIP_CONFIG_FILE-}" /etc/pip.conf /etc/xdg/pip/pip.conf ~/.pip/pip.conf \
    ~/.config/pip/pip.conf; do
    if [[ -f $file ]]; then echo "$file"; fi
  done
}

carry_path() { # path root: what pip's configuration names on this machine, at the same place
  local path=$1 root=$2
  [[ -e $path && ! -e $root$path ]] || return 0
  if [[ -d $path ]]; then
    mkdir -p "$root$path"
    mount --bind "$path" "$root$path"
    mount -o remount,bind,ro "$root$path"
  else
    install -D -m 644 "$path" "$root$path"
  fi
}

carry() { # root: proxies, certificates and indexes of this machine
  local root=$1 file path
  cp /etc/resolv.conf /etc/hosts "$root/etc/"
  apt-config dump Acquire 2>/dev/null | grep -E '^Acquire::(https?|Retries|ForceIPv)' \
    >"$root/etc/apt/apt.conf.d/99machine" || true
  install -D -t "$root/usr/local/share/ca-certificates" /usr/local/share/ca-certificates/*.crt \
    2>/dev/null || true
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  for file in $(pip_files); do # a user's own file becomes one for all users
    case $file in
      /etc/*) install -D -m 644 "$file" "$root$file" ;;
      *) install -D -m 644 "$file" "$root/etc/xdg/pip/pip.conf.user" ;;
    esac
  done
  if [[ -f $root/etc/xdg/pip/pip.conf.user ]]; then
    for home in root home/user; do
      install -D -m 644 "$root/etc/xdg/pip/pip.conf.user" "$root/$home/.config/pip/pip.conf"
    done
    rm "$root/etc/xdg/pip/pip.conf.user"
    chroot "$root" chown -R user:user /home/user/.config
  fi
  for path in $( (pip_files | xargs -r cat && env | grep '^PIP_') |
    grep -oE '(file://)?/[^ ,"]+' | sort -u); do
    case $path in
      file:///*/*) carry_path "$(dirname "${path#file://}")" "$root" ;; # an index and its files
      /etc/ssl/*) ;;
      /*) carry_path "$path" "$root" ;;
    esac
  done
}

make_base() { # the empty Debian, once; -root and -user are copies of it
  say "making an empty Debian ($suite)"
  local mirror_uri
  mirror_uri=$(mirror)
  debootstrap --variant=minbase --include=ca-certificates,git,make,python3 "$suite" \
    "$work/base" ${mirror_uri:+"$mirror_uri"} >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log"; fail "debootstrap"; }
  rm -rf "$work/base/var/cache/apt/archives/"*.deb
  chroot "$work/base" useradd --create-home --shell /bin/bash user
  git -C "$source" bundle create --quiet "$work/base/srv/specbranch_cpp.bundle" HEAD
}

make_root() { # identity: a root with a clone in it; sets $root
  root=$work/$1
  cp -a "$work/base" "$root"
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
  # Terminals of its own, as every system has them.
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
  ln -sf pts/ptmx "$root/dev/ptmx"
  carry "$root"
  inside "$1" git -c advice.detachedHead=false clone --quiet /srv/specbranch_cpp.bundle specbranch_cpp
}

inside() { # identity command ...: runs it there with a new user's environment
  local identity=$1 home=/root variables=() name
  shift
  if [[ $identity == user ]]; then home=/home/user; fi
  for name in $(compgen -e); do
    case $name in
      http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | PIP_* | \
        SSL_CERT_FILE | SSL_CERT_DIR | REQUESTS_CA_BUNDLE | CI) variables+=("$name=${!name}") ;;
    esac
  done
  chroot --userspec="$identity:$identity" "$root" env -i "${variables[@]}" HOME="$home" \
    USER="$identity" LANG=C.UTF-8 TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    bash -c 'cd && cd specbranch_cpp 2>/dev/null; "$@"' bash "$@"
}

results=()
timed() { # identity what command ...: notes how long the command takes; it has to succeed
  local identity=$1 what=$2 began=$SECONDS log=$work/$1-${2//[^a-z]/-}.log
  shift 2
  say "as $identity: $what"
  inside "$identity" "$@" </dev/null 2>&1 | tee "$log" | sed -u "s/^/  /" ||
    fail "as $identity: $what"
  results+=("$(printf '%-5s %-28s %3d min %02d s' "$identity" "$what" \
    $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)))")
  say "${results[-1]}"
}

compiles_nothing() { # identity what: the log of a warm run has no step of the set-up or of ninja
  if grep -E '^\[[1-9][0-9]*/[0-9]+\] ' "$work/$1-${2//[^a-z]/-}.log"; then
    fail "as $1: $2 has set something up again"
  fi
}

install_what_is_named() { # command: it names what is missing in a line, which root then types
  local message line
  if message=$(inside user "$@" 2>&1); then fail "nothing was missing for '$*'"; fi
  line=$(grep -oE 'sudo apt-get update && sudo apt-get install .*' <<<"$message") ||
    { echo "$message"; fail "no line says what to type"; }
  say "as user: '$*' says: $line"
  inside root bash -c "${line//sudo /}" </dev/null >"$work/apt.log" 2>&1 ||
    { tail "$work/apt.log"; fail "$line"; }
}

has_not() { # identity name ...: programs and Python packages that only tests need
  local identity=$1 name
  shift
  for name in "$@"; do
    if inside "$identity" bash -c "command -v $name || ls -d .venv/lib/*/site-packages/$name" \
      >/dev/null 2>&1; then fail "the demo has installed $name"; fi
  done
}

check_gpu() { # two GPUs in software
  make_root root
  inside root bash -c 'apt-get update -q && apt-get install -y -q --no-install-recommends \
    glslc libvulkan-dev mesa-vulkan-drivers spirv-headers' >"$work/apt.log" 2>&1 ||
    { tail "$work/apt.log"; fail "the packages for Vulkan"; }
  timed root "set-up with Vulkan" bash -c \
    'CMAKE_ARGS="$(python3 tools/setup_env.py --print-cmake-args) -DGGML_VULKAN=ON" make install-test'
  # Without a marker: `gpu` alone would leave out what compares with the CPU.
  timed root "tests on two GPUs in software" env GGML_VK_VISIBLE_DEVICES=0,0 \
    .venv/bin/pytest -v --timeout 900 tests/python/api/test_gpu.py
}

check() { # identity
  local identity=$1
  make_root "$identity"
  if [[ $only != test ]]; then
    if [[ $identity == user ]]; then install_what_is_named make demo; fi
    timed "$identity" "make demo, the first time" make demo
    has_not "$identity" chromium pytest openai matplotlib playwright langchain_openai
    timed "$identity" "make demo, again" make demo
    compiles_nothing "$identity" "make demo, again"
  fi
  if [[ $only != demo ]]; then
    if [[ $identity == user ]]; then install_what_is_named make test; fi
    timed "$identity" "make test, the first time" make test
    timed "$identity" "make test, again, to pytest" make test-cpp
    compiles_nothing "$identity" "make test, again, to pytest"
  fi
}

make_base
if [[ $only == gpu ]]; then
  check_gpu
else
  for identity in ${as:-root user}; do check "$identity"; done
fi
say "on $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1):"
printf '  %s\n' "${results[@]}"
