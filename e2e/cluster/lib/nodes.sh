# A node: containerd, kubelet and kube-proxy in a network namespace, its pods in a cgroup of its own.
# shellcheck shell=bash

cgroups=/sys/fs/cgroup
controllers=(cpu cpuacct cpuset memory devices freezer blkio pids systemd)

node_prepare() { # node_prepare n1
  local node=$1 folder=$DIR/$1 what
  mkdir -p "$folder"/{cni,kubelet,logs,volumes} "$run"
  for what in "${controllers[@]}"; do mkdir -p "$cgroups/$what/$PREFIX-$node"; done
  for what in cpus mems; do cat "$cgroups/cpuset/cpuset.$what" >"$cgroups/cpuset/$PREFIX-$node/cpuset.$what"; done
  cni_config "$node" >"$folder/cni/10-pods.conflist"
  containerd_config "$node" >"$folder/containerd.toml"
  kubelet_config "$node" >"$folder/kubelet.yaml"
}

# Point to point, not a bridge: packets between two pods of one node are routed, too, so that Services and faults work for them.
cni_config() {
  cat <<K
{"cniVersion": "0.4.0", "name": "$PREFIX-$1", "plugins": [
  {"type": "ptp", "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "$DIR/$1/ipam", "ranges": [[{"subnet": "$(node_pods "$1")"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
K
}

containerd_config() {
  cat <<K
version = 2
root = "$DIR/$1/containerd"
state = "$run/$1"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "$run/$1.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$DIR/$1/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "$run/$1.runc"
SystemdCgroup = false
K
}

kubelet_config() {
  cat <<K
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
cgroupDriver: cgroupfs
cgroupRoot: /$PREFIX-$1
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://$run/$1.sock
podLogsDir: $DIR/$1/logs
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
resolvConf: /dev/null
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
nodeLeaseDurationSeconds: 8
crashLoopBackOff: {maxContainerRestartPeriod: 2s}
nodeStatusUpdateFrequency: 2s
nodeStatusReportFrequency: 1m
evictionHard: {nodefs.available: "0%", imagefs.available: "0%", memory.available: 1Mi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
localStorageCapacityIsolation: false
K
}

containerd_up() { # containerd_up n1
  start "containerd-$1" "$1" containerd -c "$DIR/$1/containerd.toml" -l warn
  wait_for 20 "containerd of $1" ctr --connect-timeout 1s -a "$run/$1.sock" version
}

# The processes between containerd and containers (shims) have their sockets in a folder that all containerds of a machine share.
remove_shim_sockets() { # remove_shim_sockets FOLDER: state of one containerd or of several
  [ -d "$1" ] || return 0
  find "$1" -name address -path '*runtime.v2.task*' -exec sed 's|^unix://||' {} + 2>/dev/null | { grep '^/run/containerd/s/' || true; } |
    xargs -r rm -f
}

kubelet_up() { # kubelet_up n1: a region and a zone for each node
  start "kubelet-$1" "$1" "$bin/kubelet" --config="$DIR/$1/kubelet.yaml" --kubeconfig="$DIR/kubeconfig" --root-dir="$DIR/$1/kubelet" \
    --cert-dir="$DIR/$1/pki" --hostname-override="$1" --node-ip="$(node_address "$1")" \
    --node-labels="topology.kubernetes.io/region=r${1#n},topology.kubernetes.io/zone=z${1#n}"
}

# Network policies: a part of kube-router. It asks for its node's object, so that the node comes first.
policies_up() { # policies_up n1
  [ "$POLICIES" = on ] || return 0
  start "kube-router-$1" "$1" "$bin/kube-router" --kubeconfig="$DIR/kubeconfig" --hostname-override="$1" \
    --run-firewall=true --run-router=false --run-service-proxy=false --service-cluster-ip-range="$service_range" --health-port=0
}

nodes_ready() {
  [ "$(kubectl get nodes --no-headers | grep -c ' Ready ')" = "$NODES" ]
}

load_image() { # load_image FILE.tar: into every node
  local node
  for node in $(nodes); do ctr -a "$run/$node.sock" -n k8s.io images import "$1" >/dev/null; done
}
