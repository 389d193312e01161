# Takes everything of a cluster away, whole or half made; what is not there is no error.
# shellcheck shell=bash

teardown() {
  local namespaces namespace
  namespaces=$(ip netns list | cut -d' ' -f1 | sed -n "s/^$PREFIX-//p")
  thaw_all
  # shellcheck disable=SC2086
  kill_all_in $namespaces
  remove_shim_sockets "$run"
  remove_mounts
  remove_cgroups
  for namespace in $namespaces; do ip netns del "$PREFIX-$namespace"; done
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

remove_mounts() {
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
