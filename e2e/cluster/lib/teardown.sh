# Takes everything of a cluster away, whole or half made; what is not there is no error.
# shellcheck shell=bash

teardown() {
  thaw_all
  kill_all
  remove_mounts
  remove_cgroups
  ip netns list | cut -d' ' -f1 | { grep "^$PREFIX-" || true; } | xargs -r -n1 ip netns del
  remove_network_results
  rm -rf "$DIR" "$run"
}

# A frozen process does not die. (Here as everywhere: up may have made another number of nodes than we would.)
thaw_all() {
  local state
  for state in "$cgroups/freezer/$PREFIX"-n[1-9]/freezer.state; do
    [ ! -e "$state" ] || echo THAWED >"$state"
  done
}

kill_all() {
  local pids
  for _ in $(seq 100); do
    pids=$(ip netns list | cut -d' ' -f1 | sed -n "s/^$PREFIX-//p" | while read -r namespace; do pids_in "$namespace"; done)
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
  fail "these processes do not end: $pids"
}

remove_mounts() {
  [ -d "$run" ] || return 0
  # Sockets of the processes between containerd and containers are in a folder that all containerds share.
  find "$run" -name address -path '*runtime.v2.task*' -exec sed 's|^unix://||' {} + 2>/dev/null | { grep '^/run/containerd/s/' || true; } |
    xargs -r rm -f
  awk -v a="$DIR/" -v b="$run/" 'index($2, a) == 1 || index($2, b) == 1 {print $2}' /proc/self/mounts | sort -r | xargs -r -n1 umount -l
}

# What the network plugins remember about pods; the loopback's names no cluster.
remove_network_results() {
  local file
  for file in /var/lib/cni/results/{"$PREFIX"-n[1-9],cni-loopback}-*; do
    ! grep -qsF "$run/" "$file" || rm -f "$file"
  done
}

remove_cgroups() {
  local folder
  for folder in "$cgroups"/*/"$PREFIX"-n[1-9]; do
    [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} \;
  done
}
