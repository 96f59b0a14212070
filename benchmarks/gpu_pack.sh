#!/usr/bin/env bash
# Collects what benchmarks/gpu_suite.sh needs on a machine without a network: a few MB.
#
#   benchmarks/gpu_pack.sh OUT_DIR [--python 3.12] [--with PACKAGE ...]
#
# OUT_DIR then holds llama-cpp-src.tar.xz (of the pinned llama-cpp-python's source archive, what its
# libraries are built from) and wheels/ (for x86-64 Linux and that machine's version of Python).
# Copy it there beside the source tree. NumPy is left out, as a machine with CUDA mostly has it:
# --with numpy adds it (16 MB); likewise cmake, ninja or matplotlib.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
# What the build, the tests and the benchmarks import; pip finds what these need.
packages=(gguf jinja2 numpy prompt_toolkit pybind11 pytest pytest-timeout rich safetensors
  scikit-build-core tqdm typer)
heavy=(numpy)
platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64)

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
  exit "$1"
}

out=
version=3.12
while (($#)); do
  case $1 in
    --python) version=${2:?"--python needs a version, such as 3.12"}; shift 2 ;;
    --with)
      name=${2:?"--with needs the name of a package"}; shift 2
      packages+=("$name")
      for i in "${!heavy[@]}"; do [[ ${heavy[i]} != "$name" ]] || unset "heavy[i]"; done ;;
    -h | --help) usage 0 ;;
    -*) echo "gpu_pack: unknown option $1" >&2; usage 2 >&2 ;;
    *) out=$1; shift ;;
  esac
done
[[ -n $out ]] || usage 2 >&2
mkdir -p "$out/wheels"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

requirement=$("$python" "$root/third_party/llama_cpp/locate_llama_cpp.py" --requirement)
if [[ -f $out/llama-cpp-src.tar.xz && $(cat "$out/requirement.txt" 2>/dev/null) == "$requirement" ]]
then
  echo "pack: $out/llama-cpp-src.tar.xz is there"
else
  echo "pack: fetching the source archive of $requirement"
  "$python" -m pip download -q --no-deps --no-binary=llama-cpp-python -d "$scratch" "$requirement"
  tar -xf "$scratch"/llama_cpp_python-*.tar.gz -C "$scratch"
  source=$(echo "$scratch"/llama_cpp_python-*/vendor/llama.cpp)
  # The archive has git's folder elsewhere; the commit is what the libraries say of themselves.
  head=$(echo "$scratch"/llama_cpp_python-*/.git/modules/vendor/llama.cpp/HEAD)
  if [[ -f $head ]]; then cut -c1-7 "$head" >"$source/COMMIT"; else echo unknown >"$source/COMMIT"; fi
  tar -C "$source" -cJf "$out/llama-cpp-src.tar.xz" --exclude='*.metal' \
    CMakeLists.txt COMMIT LICENSE cmake ggml include licenses src vendor
  echo "$requirement" >"$out/requirement.txt"
fi

echo "pack: fetching wheels for Python $version"
rm -f "$out"/wheels/*.whl
"$python" -m pip download -q --only-binary=:all: --implementation cp --python-version "$version" \
  "${platforms[@]/#/--platform=}" -d "$out/wheels" "${packages[@]}"
for name in "${heavy[@]}"; do rm -f "$out/wheels/$name"-[0-9]*.whl; done
du -ch "$out"/llama-cpp-src.tar.xz "$out"/wheels/*.whl
