#!/usr/bin/env bash
# clang-tidy on every source of ours in a build folder's compile_commands.json, two at a time or
# as many as there are cores.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard -- 'cpp/**.cpp' |
  xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$1"
