#!/usr/bin/env bash
# Builds llama.cpp, the inference engine, once per machine into a cache folder outside the build tree.
#
#   cmake/engine.sh [engine|stock|cuda]     prints the folder of that build on stdout
#
#   engine  what glowplug-worker links: no OpenMP, because a forked child of a process that ran OpenMP hangs
#   stock   llama-server as upstream builds it (OpenMP on): the peer in bench/
#   cuda    engine with the CUDA backend (needs nvcc), for this machine's GPU, or for CUDAARCHS, e.g. "80;90"
#
# The source comes from the first of these that works; every failure says why:
#   1. GLOWPLUG_LLAMA_SOURCE=dir       a checkout on this machine
#   2. git fetch of the pinned commit  the commit id is the checksum
#   3. the llama-cpp-python sdist      holds the same tree; fetch_sdist.py checks its SHA-256
#
# The folder's name is a key over commit, flags, compiler and CPU features, so nothing stale is ever linked.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/condense.sh"

readonly kCommit=0c1e57098bba43ac29e6e3b677cdceebdd22334f
readonly kRepository=https://github.com/ggml-org/llama.cpp
readonly kSdist=llama-cpp-python==0.3.36
readonly kSdistSha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
variant=${1:-engine}
cache=${GLOWPLUG_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/glowplug}/engine
mkdir -p "$cache"

say() { printf '%s\n' "$*" >&2; }
die() { say "engine: $*"; exit 1; }

flags=(-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
  -DGGML_NATIVE=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF
  -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_LLGUIDANCE=OFF
  -DLLAMA_BUILD_NUMBER=0 "-DLLAMA_BUILD_COMMIT=${kCommit:0:9}")
case $variant in
  engine) flags+=(-DGGML_OPENMP=OFF) ;;
  stock) flags+=(-DGGML_OPENMP=ON) ;;
  cuda)
    export PATH=$PATH:/usr/local/cuda/bin
    command -v nvcc >/dev/null || die "the CUDA build needs nvcc on PATH; install the CUDA toolkit or leave GLOWPLUG_CUDA off"
    if [ -z "${CUDAARCHS:-}" ] && ! nvidia-smi -L >/dev/null 2>&1; then
      die "no GPU answers nvidia-smi here; say for which ones to compile, e.g. CUDAARCHS=\"80;86;89;90\""
    fi
    flags+=(-DGGML_OPENMP=OFF -DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF "-DCMAKE_CUDA_ARCHITECTURES=${CUDAARCHS:-native}")
    # Part of the key: the card of "native", so that a cache carried to another machine is not taken for its own.
    toolkit="$(nvcc --version | tail -1) $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u | xargs || true)" ;;
  *) die "unknown variant '$variant'; choose engine, stock or cuda" ;;
esac

cpu_features=$(grep -m1 -E '^(flags|Features)' /proc/cpuinfo | cut -d: -f2 | tr ' ' '\n' | sort)
key=$(printf '%s\n' "$kCommit" "${GLOWPLUG_LLAMA_SOURCE:-}" "${flags[*]}${toolkit:+ $toolkit}" \
  "$("${CXX:-c++}" --version | head -1)" "$cpu_features" | sha256sum | cut -c1-16)
build=$cache/$variant-${kCommit:0:9}-$key
if [ -e "$build/ready" ]; then echo "$build"; exit 0; fi

exec 9>"$cache/lock"
flock -n 9 || { say "engine: another build is running on this machine; waiting for it"; flock 9; }
if [ -e "$build/ready" ]; then echo "$build"; exit 0; fi

has_server_core() { [ -f "$1/tools/server/server-context.h" ]; }

source_from_folder() {
  [ -n "${GLOWPLUG_LLAMA_SOURCE:-}" ] || return 1
  has_server_core "$GLOWPLUG_LLAMA_SOURCE" ||
    die "GLOWPLUG_LLAMA_SOURCE=$GLOWPLUG_LLAMA_SOURCE holds no tools/server/server-context.h; point it at a llama.cpp checkout of $kCommit"
  printf '%s\n' "$GLOWPLUG_LLAMA_SOURCE"
}

source_from_git() {
  local tree=$cache/source-git-${kCommit:0:9} log=$cache/git.log
  if has_server_core "$tree" && [ -e "$tree.ready" ]; then printf '%s\n' "$tree"; return 0; fi
  command -v git >/dev/null || { say "engine: git is not installed, trying the sdist"; return 1; }
  say "engine: fetching llama.cpp ${kCommit:0:9} with git"
  rm -rf "$tree" && git init -q "$tree"
  if ! GIT_TERMINAL_PROMPT=0 timeout 20 git -c http.lowSpeedLimit=1 -c http.lowSpeedTime=20 \
      ls-remote -q "$kRepository" HEAD >"$log" 2>&1 ||
     ! timeout 900 git -C "$tree" fetch -q --depth 1 "$kRepository" "$kCommit" >>"$log" 2>&1 ||
     ! git -C "$tree" checkout -q FETCH_HEAD >>"$log" 2>&1; then
    say "engine: git could not fetch it ($(grep -m1 -E 'fatal|error' "$log" || echo 'no answer within 20 s')), trying the sdist"
    rm -rf "$tree"
    return 1
  fi
  touch "$tree.ready"
  printf '%s\n' "$tree"
}

source_from_sdist() {
  local tree=$cache/source-sdist-${kCommit:0:9} archive
  if has_server_core "$tree"; then printf '%s\n' "$tree"; return 0; fi
  command -v python3 >/dev/null || { say "engine: python3 is not installed, no sdist route"; return 1; }
  say "engine: fetching the same tree from the sdist $kSdist"
  rm -rf "$cache/sdist"
  archive=$(python3 "$here/fetch_sdist.py" "$kSdist" "$kSdistSha256" "$cache/sdist") || return 1
  tar -xzf "$archive" -C "$cache/sdist" || die "the sdist could not be unpacked into $cache/sdist"
  mv "$cache"/sdist/*/vendor/llama.cpp "$tree"
  rm -rf "$cache/sdist"
  has_server_core "$tree" || die "the sdist holds no llama.cpp server core"
  printf '%s\n' "$tree"
}

source=$(source_from_folder || source_from_git || source_from_sdist) ||
  die "no source for llama.cpp $kCommit: set GLOWPLUG_LLAMA_SOURCE to a checkout, or allow access to GitHub or PyPI"

say "engine: configuring in $build"
if command -v ccache >/dev/null; then
  export CCACHE_BASEDIR=$cache CCACHE_NOHASHDIR=1
  flags+=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DGGML_CCACHE=OFF)
fi
rm -rf "$build"
cmake -S "$source" -B "$build" -G Ninja "${flags[@]}" >"$cache/configure.log" 2>&1 ||
  { tail -20 "$cache/configure.log" >&2; die "cmake could not configure llama.cpp; the whole log is $cache/configure.log"; }
cmake --build "$build" --target llama-server server-context 2>&1 | tee "$cache/build.log" |
  grep --line-buffered '^\[' | condense "engine: compiling llama.cpp ($variant)" ||
  { grep -m3 -A8 -E 'FAILED|error:' "$cache/build.log" >&2 || true
    die "llama.cpp did not compile; the whole log is $cache/build.log"; }

# What the worker's CMake needs: where the headers are and which archives to link.
{
  echo "set(GLOWPLUG_ENGINE_SOURCE \"$source\")"
  echo "set(GLOWPLUG_ENGINE_COMMIT \"$kCommit\")"
  echo "set(GLOWPLUG_ENGINE_BUILD \"$build\")"
} >"$build/engine.cmake"
touch "$build/ready"
echo "$build"
