# Finds the tools: in $BIN, where e2e/cluster put them, or on the PATH.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/trireme
for folder in "$cache"/cluster/*/bin "$cache/bin" "${BIN:-}"; do
  [ ! -d "$folder" ] || PATH=$folder:$PATH
done
export PATH

# need TOOL...: fails where one is missing.
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: build the tools with e2e/cluster/build-tools, or name their folder in BIN" >&2; return 1; }
  done
}
