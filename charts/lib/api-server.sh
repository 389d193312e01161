# A real API server, with etcd, on this machine's loopback interface, without controllers or nodes: it knows every rule of the API, and runs nothing.
# api_server_start FOLDER [FLAG...] brings it up and sets KUBECONFIG; api_server_stop ends it.

api_server_pids=()

free_port() { # free_port: a port that nobody listens at
  local port
  while port=$((20000 + RANDOM % 12000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

api_server_start() {
  local folder=$1 etcd_port peer_port api_port token
  shift
  etcd_port=$(free_port) peer_port=$(free_port) api_port=$(free_port)
  token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
  mkdir -p "$folder/log"
  echo "$token,admin,1,\"system:masters\"" >"$folder/tokens.csv"
  openssl genrsa -out "$folder/accounts.key" 2048 2>/dev/null
  etcd --data-dir "$folder/etcd" --logger zap --log-outputs stderr \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-cluster "default=http://127.0.0.1:$peer_port" >"$folder/log/etcd" 2>&1 &
  api_server_pids+=($!)
  kube-apiserver --etcd-servers "http://127.0.0.1:$etcd_port" --bind-address 127.0.0.1 --secure-port "$api_port" --cert-dir "$folder/pki" \
    --token-auth-file "$folder/tokens.csv" --authorization-mode RBAC --disable-admission-plugins ServiceAccount \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$folder/accounts.key" \
    --service-account-signing-key-file "$folder/accounts.key" --service-cluster-ip-range 10.96.0.0/16 "$@" >"$folder/log/api-server" 2>&1 &
  api_server_pids+=($!)
  cat >"$folder/kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$api_port", insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: $token}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
K
  export KUBECONFIG=$folder/kubeconfig
  local _
  for _ in $(seq 150); do
    kubectl get --raw /readyz >/dev/null 2>&1 && kubectl get namespace default >/dev/null 2>&1 && return
    kill -0 "${api_server_pids[@]}" 2>/dev/null || break
    sleep 0.2
  done
  echo "the API server does not come up:" >&2
  tail -5 "$folder"/log/* >&2
  return 1
}

api_server_stop() {
  [ ${#api_server_pids[@]} -eq 0 ] || kill -KILL "${api_server_pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  api_server_pids=()
}
