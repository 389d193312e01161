# Finds the tools: in the folder that BIN names, in that of e2e/cluster/build-tools, or on the PATH.
# shellcheck shell=bash

built=$(source "$(dirname "${BASH_SOURCE[0]}")/../../e2e/cluster/lib/settings.sh" && echo "$bin")
export PATH=${BIN:+$BIN:}$built:$PATH

# need TOOL...: fails where one is missing.
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: build the tools with e2e/cluster/build-tools, or name their folder in BIN" >&2; return 1; }
  done
}
