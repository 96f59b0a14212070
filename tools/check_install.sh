#!/usr/bin/env bash
# Every way to install the package, each in a fresh environment, with pip's build isolation:
# into an empty environment, beside a llama-cpp-python, from the source archive, editable, --user,
# and --target. Takes a few minutes with llama-cpp-python's wheel in pip's cache.
# Ready wheels are tried by tools/check_wheels.py.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" # not in the source tree: what is imported has to be what was installed
CMAKE_ARGS=${CMAKE_ARGS-$(python3 "$source/tools/setup_env.py" --print-cmake-args)}
export CMAKE_ARGS PIP_QUIET=1
unset SPECBRANCH_LLAMA_PREFIX LLAMA_CPP_LIB_PATH PYTHONPATH VIRTUAL_ENV
requirement=$(python3 "$source/third_party/llama_cpp/locate_llama_cpp.py" --requirement)

environment() { # name [option ...]: sets $python to that of a new virtual environment
  python3 -m venv "${@:2}" "$work/$1"
  python=$work/$1/bin/python
}

check() { # how: the installed package loads in both orders and maps one libllama
  local order
  for order in "specbranch_cpp, llama_cpp" "llama_cpp, specbranch_cpp"; do
    "$python" - "$order" <<'PYTHON'
import sys

exec("import " + sys.argv[1])
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/libllama" in line}
assert len(mapped) == 1, mapped
PYTHON
  done
  echo "ok: $1"
}

libraries() { # the time and place of the libraries in the environment
  find "$(dirname "$python")/.." -name 'libllama.so' -printf '%p %i %T@\n' | sort
}

environment empty
"$python" -m pip install "$source"
check "into an empty environment"

environment beside
"$python" -m pip install "$requirement"
before=$(libraries)
"$python" -m pip install -vv --log "$work/beside.log" "$source" >/dev/null 2>&1
[[ $(libraries) == "$before" ]] || { echo "llama-cpp-python was installed again"; exit 1; }
if grep -q "Collecting llama.cpp.python" "$work/beside.log"; then
  echo "llama-cpp-python was a build requirement although it was there"; exit 1
fi
check "beside a llama-cpp-python, which is linked to"

environment archive
"$python" -m pip install build
"$python" -m build --sdist --outdir "$work/dist" "$source" >/dev/null
"$python" -m pip install "$work"/dist/specbranch_cpp-*.tar.gz
check "from the source archive"

environment editable
"$python" -m pip install -e "$source"
check "editable"

environment user --system-site-packages
"$python" -m pip install "$requirement"
export PYTHONUSERBASE=$work/userbase
"$python" -m pip install --user "$source"
check "--user, with llama-cpp-python in another folder"
unset PYTHONUSERBASE

environment target
"$python" -m pip install --target "$work/folder" "$source"
export PYTHONPATH=$work/folder
check "--target"
