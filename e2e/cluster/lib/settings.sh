# What every command here shares: where the cluster's state lives, what it is called, where its programs are.
# shellcheck shell=bash

DIR=${DIR:-/tmp/trireme-cluster}     # state of the cluster: data, logs, certificates, kubeconfig
PREFIX=${PREFIX:-trireme}            # begins the names of network namespaces, cgroups and of the folder below /run

# The cluster that is up was made with these; the next one is made with what the caller says.
# shellcheck source=/dev/null
if [ -e "$DIR/settings" ]; then source "$DIR/settings"; fi
NODES=${NODES:-3}                    # n1, n2, ...
POLICIES=${POLICIES:-on}             # NetworkPolicies are enforced: on or off
AUDIT=${AUDIT:-off}                  # the API server writes down each request: on or off

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/trireme/cluster
run=/run/$PREFIX                     # sockets: their names may not be long

helm_version=v4.3.1
coredns_version=v1.15.0
local_path_version=v0.0.30
kube_router_version=v2.1.0
kubernetes_version=$(sed -n 's|^\t*\(require \)\?k8s.io/kubernetes \(v[0-9.]*\).*|\2|p' "$here/kubernetes/go.mod")

# Programs of other versions are kept apart, so that a change of versions never finds old ones.
tools_key=$(cat "$here/kubernetes/go.mod" "$here/kubernetes/go.sum" - <<<"$helm_version $coredns_version $local_path_version $kube_router_version" | sha256sum | cut -c1-16)
bin=$cache/$tools_key/bin
images=$cache/images

host_address=172.30.0.1              # the API server's and DNS's, in the control plane's namespace
service_range=10.96.0.0/16
pod_range=10.200.0.0/16
node_address() { echo "172.30.0.1${1#n}"; }   # node_address n1
node_pods() { echo "10.200.${1#n}.0/24"; }    # node_pods n1
nodes() { seq -f 'n%g' "$NODES"; }

fail() { # fail MESSAGE...
  printf '%s\n' "$*" >&2
  exit 1
}

need_root() {
  [ "$(id -u)" = 0 ] || fail "$(basename "$0") needs root: sudo -E $0"
}

if [[ ! $PREFIX =~ ^[a-z][a-z0-9]{0,19}$ ]]; then fail "PREFIX '$PREFIX' is not allowed: up to 20 small letters and digits"; fi
if [[ ! $NODES =~ ^[1-9]$ ]]; then fail "NODES '$NODES' is not allowed: 1 to 9"; fi
if [[ $DIR != /* || $DIR == / || $DIR =~ [[:space:]] ]]; then fail "DIR '$DIR' is not allowed: an absolute path without spaces"; fi
