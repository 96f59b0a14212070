#!/usr/bin/env bash
# Builds, tests and measures on a machine with an NVIDIA GPU and no network. See docs/gpu.md.
#
#   benchmarks/gpu_suite.sh --llama-source PACK/llama-cpp-src.tar.xz --wheels PACK/wheels
#
# Needs CMake, a C++20 compiler, Python 3.10 or newer and nvcc; gpu_pack.sh collects the rest at home.
#
#   --stage NAME         llama, extension, build (these two), test, curves, bench, copies, report or
#                        all; may be repeated; default all. What is done already is skipped.
#   --llama-source PATH  what gpu_pack.sh packed, llama-cpp-python's source archive, or llama.cpp's folder
#   --prefix DIR         use this build of llama.cpp (include/, llama_cpp/lib/) and build none
#   --wheels DIR         packages that the machine lacks; without it, what it has must suffice
#   --work DIR           everything is written there; default build/gpu
#   --out FILE           the report; default WORK/report.json
#   --arch "N .."        compute capabilities, such as 90; default: those of the machine's GPUs
#   --cublas-dir DIR     include/ and lib/ of cuBLAS where the toolkit has none (PyPI's nvidia-cublas)
#   --no-gpu             llama.cpp for the CPU alone and tiny settings: tries the suite, measures nothing
#   --presets "NAME .."  of scale_model.py, for curves, bench and copies; default r8-64, whose heads have
#                        flash attention on GPUs; "none" is the bundled pair as it is
#   --type TYPE          weights of the scaled models; default: as in the bundled pair
#   --placements "P .."  default "gpu draft-cpu target-cpu", and with several GPUs also "two-gpus gpus"
#   --tokens N, --prompts N, --modes "MODE ..", --temperatures "T .."   of bench; default 64, 6, all, 0
#   --jobs N             compilers at a time; default: one a core
#   --python PATH        default python3
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
stages=() llama_source='' prefix='' wheels='' work=$root/build/gpu out='' arch='' cublas_dir='' no_gpu=''
presets='' weight_type='' placements='' tokens='' prompts='' modes='' temperatures=''
jobs=$(nproc) python=python3
bundled=$root/python/specbranch_cpp/models/demo

say() { echo "gpu_suite: $*"; }
die() { echo "gpu_suite: $*" >&2; exit 1; }

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
  exit "$1"
}

read_options() {
  local value
  while (($#)); do
    case $1 in
      --no-gpu) no_gpu=1; shift; continue ;;
      -h | --help) usage 0 ;;
    esac
    (($# > 1)) || die "$1 is unknown or needs a value (--help tells)"
    value=$2
    case $1 in
      --stage) stages+=("$value") ;;
      --llama-source) llama_source=$(realpath -e -- "$value") ;;
      --prefix) prefix=$(realpath -e -- "$value") ;;
      --wheels) wheels=$(realpath -e -- "$value") ;;
      --work) mkdir -p "$value"; work=$(realpath -- "$value") ;;
      --out) out=$(realpath -m -- "$value") ;;
      --arch) arch=$value ;;
      --cublas-dir) cublas_dir=$(realpath -e -- "$value") ;;
      --presets) presets=$value ;;
      --type) weight_type=$value ;;
      --placements) placements=$value ;;
      --tokens) tokens=$value ;;
      --prompts) prompts=$value ;;
      --modes) modes=$value ;;
      --temperatures) temperatures=$value ;;
      --jobs) jobs=$value ;;
      --python) python=$value ;;
      *) die "unknown option $1 (--help tells)" ;;
    esac
    shift 2
  done
}

# Stamps: a stage is done if its key, what it depends on, is what it was. -------------------------

digest() { sha256sum | cut -c1-16; }

# The contents of files and folders.
digest_of() {
  find "$@" -type f ! -name '*.pyc' ! -name '*.so' -print0 | sort -z | xargs -0 sha256sum | digest
}

stamp() { cat "$work/stamps/$1" 2>/dev/null || true; }

# stage NAME KEY COMMAND ...: runs it, with its output in a log too, unless it is done. A failure is
# noted in `failed`, and the next stage has its chance.
failed=()
stage() {
  local name=$1 key code begin=$SECONDS
  key=$(echo "${*:2}" | digest)
  if [[ $(stamp "$name") == "$key" ]]; then
    say "$name: done already"
    return
  fi
  say "$name: begins"
  rm -f "$work/stamps/$name"
  mkdir -p "$work/stamps" "$work/logs"
  set +e # or else -e would not hold inside
  (set -e; "${@:3}") > >(tee "$work/logs/$name.log") 2>&1
  code=$?
  set -e
  if ((code != 0)); then
    say "$name: failed; its output is in $work/logs/$name.log"
    failed+=("$name")
    return
  fi
  echo "$key" >"$work/stamps/$name"
  echo "$((SECONDS - begin))" >"$work/stamps/$name.seconds"
  say "$name: $((SECONDS - begin)) s"
}

# llama: llama.cpp's libraries, laid out as the Python package lays them out ------------------------

# The compute capabilities of the machine's GPUs, each once; none if CUDA may use none of them.
# nvidia-smi may print an error instead.
gpu_archs() {
  [[ ${CUDA_VISIBLE_DEVICES-all} =~ ^(all|GPU-|MIG-|[0-9]) ]] || return 0
  nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
    sed -n 's/^ *\([0-9]\{1,2\}\)\.\([0-9]\) *$/\1\2/p' | sort -u | paste -sd ' ' || true
}

find_source() { # prints the folder of llama.cpp's sources
  local folder=$work/llama-src found
  if [[ -d $llama_source ]]; then
    folder=$llama_source
  else
    rm -rf "$folder"
    mkdir -p "$folder"
    tar -xf "$llama_source" -C "$folder"
  fi
  found=$(find "$folder" -maxdepth 5 -path '*/include/llama.h' -print -quit)
  [[ -n $found ]] || die "$llama_source holds no llama.cpp (include/llama.h)"
  dirname "$(dirname "$found")"
}

find_cublas='
import importlib.metadata as metadata
found = [f.locate() for f in metadata.files("nvidia-cublas") or [] if f.name == "cublas_v2.h"]
print(found[0].resolve().parent.parent)'

# What CMake links to for the driver: a stub of the toolkit, or the driver's own.
has_driver_library() {
  find -L "$1" -maxdepth 5 -name libcuda.so -print -quit 2>/dev/null | grep -q . ||
    ldconfig -p | grep -q 'libcuda\.so '
}

cuda_options() { # sets cuda: the options for CMake
  local nvcc toolkit name libraries
  nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
  [[ -x $nvcc ]] || die "there is no nvcc in PATH or in /usr/local/cuda/bin"
  cuda=(-DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF "-DCMAKE_CUDA_COMPILER=$nvcc"
    "-DCMAKE_CUDA_ARCHITECTURES=$(printf '%s-real;' $arch | sed 's/;$//')")
  toolkit=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
  # Without VMM nothing is linked to the driver, and the libraries load where there is none. Users
  # have VMM: without it, memory of launches that CUDA graphs repeat may be freed on a full GPU.
  if ! ldconfig -p | grep -q 'libcuda\.so\.1' || ! has_driver_library "$toolkit"; then
    cuda+=(-DGGML_CUDA_NO_VMM=ON)
  fi
  if [[ -z $cublas_dir && ! -e $toolkit/include/cublas_v2.h ]]; then
    cublas_dir=$("$python" -c "$find_cublas" 2>/dev/null) ||
      die "neither $toolkit nor the packages of $python have cuBLAS; say where: --cublas-dir"
  fi
  [[ -n $cublas_dir ]] || return 0
  # The package has libraries by their SONAMEs alone, which a linker does not look for.
  mkdir -p "$work/cublas"
  for name in cublas cublasLt; do
    libraries=("$cublas_dir/lib/lib$name".so.[0-9]*)
    [[ -e ${libraries[0]} ]] || die "$cublas_dir/lib has no lib$name.so"
    ln -sf "${libraries[@]}" "$work/cublas/"
    ln -sf "$(basename "${libraries[0]}")" "$work/cublas/lib$name.so"
    cuda+=("-DCUDA_${name}_LIBRARY=$work/cublas/lib$name.so")
  done
  cuda+=("-DCMAKE_CUDA_FLAGS=-I$cublas_dir/include")
}

build_llama() {
  local source commit cuda=() generator=() cpu
  source=$(find_source)
  commit=$(cat "$source/COMMIT" 2>/dev/null || echo unknown)
  [[ -n $no_gpu ]] || cuda_options
  ! command -v ninja >/dev/null || generator=(-G Ninja)
  read -ra cpu <<<"$("$python" "$root/tools/setup_env.py" --print-cmake-args)"
  # No git for ggml: it would ask for the commit of the repository around, not for llama.cpp's.
  cmake -S "$source" -B "$work/llama-build" -DGIT_EXE= "${generator[@]}" "${cpu[@]}" "${cuda[@]}" \
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DLLAMA_BUILD_COMMIT="$commit" \
    -DLLAMA_BUILD_{COMMON,TESTS,TOOLS,EXAMPLES,SERVER,APP}=OFF -DCMAKE_INSTALL_LIBDIR=lib \
    -DCMAKE_INSTALL_PREFIX="$work/llama-install" -DCMAKE_INSTALL_RPATH="\$ORIGIN" \
    -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON
  cmake --build "$work/llama-build" -j "$jobs" --target install
  rm -rf "$work/prefix"
  mkdir -p "$work/prefix/llama_cpp/lib"
  mv "$work/llama-install/include" "$work/prefix/"
  mv "$work"/llama-install/lib/lib{llama,ggml}*.so* "$work/prefix/llama_cpp/lib/"
  rm -rf "$work/llama-install"
}

# extension: ours, built against those libraries, in a virtual environment of its own -------------

install() { "$work/venv/bin/python" -m pip install -q --no-index ${wheels:+--find-links="$wheels"} "$@"; }

build_extension() {
  local venv=$work/venv site
  "$python" -m venv --clear "$venv" || "$python" -m venv --clear --without-pip "$venv"
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # It sees the packages of $python, also where that is a virtual environment itself.
  "$python" -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")' \
    >"$site/parent.pth"
  echo "import os; os.environ.setdefault('LLAMA_CPP_LIB_PATH', '$prefix/llama_cpp/lib')" \
    >"$site/llama_cpp_lib_path.pth"
  install 'scikit-build-core>=0.11' 'pybind11>=3.0' 'jinja2>=3.1.6' 'numpy>=1.22' 'prompt_toolkit>=3.0.36' \
    'rich>=13' 'safetensors>=0.5' 'typer>=0.12' \
    'gguf>=0.17' tqdm 'pytest>=8.0' 'pytest-timeout>=2.3'
  SPECBRANCH_LLAMA_PREFIX=$prefix CMAKE_BUILD_PARALLEL_LEVEL=$jobs \
    install -v --no-deps --no-build-isolation --force-reinstall \
    -C build-dir="$work/extension-build" -C cmake.define.SPECBRANCH_BUILD_BENCHMARKS=ON \
    -C cmake.define.SPECBRANCH_LLAMA_PREFIX="$prefix" -C build.targets="_core;specbranch_step_cost" "$root"
  ldd "$prefix/llama_cpp/lib/libllama.so" | grep -E 'ggml|cublas|cudart' || true
  (cd "$work" && "$venv/bin/python" -c "$describe")
}

describe='
from specbranch_cpp import _core
library = _core.library_info()
print(f"llama.cpp {library.llama_version} ({library.ggml_commit})", library.system)
for device in _core.list_devices():
    print(f"{device.name}: {device.description}, {device.memory_total >> 20} MiB")'

# What llama.cpp sees, and the processor: what was measured elsewhere does not count here.
machine='
import os
from pathlib import Path
from specbranch_cpp import _core
for device in _core.list_devices():
    if device.is_gpu:
        print("GPU", device.description, device.memory_total)
lines = Path("/proc/cpuinfo").read_text().splitlines()
print(*{line for line in lines if line.startswith("model name")}, len(os.sched_getaffinity(0)))'

# test, curves, bench ---------------------------------------------------------------------------

run_tests() {
  cd "$root"
  # The machine's own plugins of pytest may warn, which the settings make errors.
  PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 "$work/venv/bin/python" -m pytest -p pytest_timeout \
    -p no:cacheprovider --junitxml="$work/test.xml" \
    tests/python/api/test_gpu.py tests/python/tools/test_cost_curves.py
}

make_models() { # preset
  local folder=$work/models/$1
  rm -rf "$folder"
  mkdir -p "$folder"
  if [[ $1 == none ]]; then
    ln -s "$bundled-target.gguf" "$folder/target.gguf"
    ln -s "$bundled-draft.gguf" "$folder/draft.gguf"
    return
  fi
  "$work/venv/bin/python" "$root/benchmarks/scale_model.py" --preset "$1" --out-dir "$folder" \
    --target "$bundled-target.gguf" --draft "$bundled-draft.gguf" ${weight_type:+--type "$weight_type"}
  mv "$folder"/*-target-*.gguf "$folder/target.gguf"
  mv "$folder"/*-draft-*.gguf "$folder/draft.gguf"
}

measure_curves() { # preset placement
  local placement=$2 effort=(--seconds 4)
  [[ $placement == shared ]] && placement=cpu
  [[ -z $no_gpu ]] || effort=(--repeats 2 --seconds 1)
  mkdir -p "$work/curves"
  "$work/venv/bin/python" "$root/benchmarks/cost_curves.py" "$work/models/$1"/{target,draft}.gguf \
    --placement "$placement" --program "$work/extension-build/specbranch_step_cost" \
    --json "$work/curves/$1-$2.json" "${effort[@]}"
}

measure_bench() { # preset: all placements, which are compared with each other
  local folder=$work/bench/$1 code=0 options=(--placements "${placements// /,}" --allow-near-ties
    --tokens "$tokens" --n-prompts "$prompts")
  [[ -z $modes ]] || options+=(--modes "${modes// /,}")
  [[ -z $temperatures ]] || options+=(--temperatures "${temperatures// /,}")
  # What was measured with other settings or another build does not go on.
  if [[ $(cat "$folder/suite-key" 2>/dev/null) != "$2" ]]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    echo "$2" >"$folder/suite-key"
  fi
  "$work/venv/bin/specbranch" bench run -m "$work/models/$1/target.gguf" \
    -md "$work/models/$1/draft.gguf" "${options[@]}" -o "$folder" || code=$? # texts differ
  "$work/venv/bin/specbranch" bench report "$folder" --json >"$folder/summary.json"
  return "$code"
}

measure_copies() { # preset: what leaves the KV cache and comes back from main memory
  local effort=(--lengths 1000 4000)
  [[ -z $no_gpu ]] || effort=(--lengths 250 --rounds 1)
  mkdir -p "$work/copies"
  rm -f "$work/copies/$1.jsonl"
  "$work/venv/bin/python" "$root/benchmarks/returning_text.py" "$work/models/$1"/{target,draft}.gguf \
    --json "$work/copies/$1.jsonl" "${effort[@]}"
}

make_report() {
  "$work/venv/bin/python" "$root/benchmarks/gpu_report.py" "$work" --out "$out"
}

# -----------------------------------------------------------------------------------------------

wanted() {
  local name
  for name in "${stages[@]}"; do
    [[ $name == "$1" || $name == all || ($name == build && ($1 == llama || $1 == extension)) ]] && return
  done
  return 1
}

main() {
  local name preset placement extension_key here
  read_options "$@"
  ((${#stages[@]})) || stages=(all)
  for name in "${stages[@]}"; do
    [[ " llama extension build test curves bench copies report all " == *" $name "* ]] ||
      die "--stage is $name; it must be llama, extension, build, test, curves, bench, copies, report or all"
  done
  mkdir -p "$work"
  [[ -n $no_gpu || -n $arch || -n $prefix ]] || arch=$(gpu_archs)
  if [[ -z $no_gpu && -z $arch && -z $prefix ]]; then
    say "nvidia-smi finds no GPU: as with --no-gpu"
    no_gpu=1
  fi
  if [[ -n $no_gpu ]]; then
    : "${placements:=shared}" "${tokens:=8}" "${prompts:=1}" "${presets:=none}"
  fi
  : "${tokens:=64}" "${prompts:=6}" "${presets:=r8-64}" "${out:=$work/report.json}"

  if [[ -z $prefix ]]; then
    prefix=$work/prefix
    if wanted llama; then
      [[ -n $llama_source ]] || die "--llama-source or --prefix is missing (--help tells)"
      if [[ -d $llama_source ]]; then name=$llama_source; else name=$(sha256sum <"$llama_source"); fi
      name+=" $("$python" "$root/tools/setup_env.py" --print-cmake-args)"
      stage llama "$name $no_gpu $arch $cublas_dir" build_llama
    fi
  fi
  ((${#failed[@]} == 0)) || exit 1
  [[ -e $prefix/llama_cpp/lib/libllama.so ]] || die "$prefix has no llama_cpp/lib/libllama.so; run --stage llama"

  extension_key="$(digest_of "$prefix/include" "$prefix/llama_cpp/lib") $("$python" -VV)"
  extension_key+=$(cd "$root" && digest_of CMakeLists.txt pyproject.toml cpp python third_party \
    tools/build_backend benchmarks/*.{cpp,h})
  ! wanted extension || stage extension "$extension_key" build_extension
  ((${#failed[@]} == 0)) || exit 1
  [[ -x $work/venv/bin/specbranch ]] || die "$work/venv has no specbranch; run --stage extension"

  here=$(cd "$work" && "$work/venv/bin/python" -c "$machine")
  if [[ -z $placements ]] && (($(grep -c '^GPU' <<<"$here") > 1)); then
    placements="gpu two-gpus gpus draft-cpu target-cpu"
  fi
  : "${placements:=gpu draft-cpu target-cpu}"

  ! wanted test || stage test "$extension_key $here $(digest_of "$root/tests/python")" run_tests
  if wanted curves || wanted bench || wanted copies; then
    for preset in $presets; do
      stage "models-$preset" "$weight_type $(digest_of "$bundled"-{target,draft}.gguf)" make_models "$preset"
    done
  fi
  if wanted curves; then
    for preset in $presets; do
      for placement in $placements; do
        name="$extension_key $here $weight_type $no_gpu $(digest_of "$root/benchmarks/cost_curves.py")"
        stage "curves-$preset-$placement" "$name" measure_curves "$preset" "$placement"
      done
    done
  fi
  if wanted bench; then
    for preset in $presets; do
      name=$(echo "$extension_key $here $weight_type $placements $tokens $prompts $modes $temperatures" | digest)
      stage "bench-$preset" "$name" measure_bench "$preset" "$name"
    done
  fi
  if wanted copies; then
    for preset in $presets; do
      name="$extension_key $here $weight_type $no_gpu $(digest_of "$root/benchmarks/returning_text.py")"
      stage "copies-$preset" "$name" measure_copies "$preset"
    done
  fi
  ! wanted report || make_report
  ((${#failed[@]} == 0)) || die "failed: ${failed[*]}"
}

main "$@"
