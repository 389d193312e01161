# etcd, API server, controllers, scheduler, DNS and the provisioner of volumes, in the control plane's namespace.
# shellcheck shell=bash

certificates() {
  local pki=$DIR/pki
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -subj /CN=trireme-e2e -days 30
  openssl genrsa -out "$pki/accounts.key" 2048
  openssl req -newkey rsa:2048 -nodes -keyout "$pki/api.key" -out "$pki/api.csr" -subj /CN=kube-apiserver
  openssl x509 -req -in "$pki/api.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 -out "$pki/api.crt" \
    -extfile <(echo "subjectAltName=IP:127.0.0.1,IP:$host_address,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc")
}

kubeconfig() { # the administrator's; programs of the cluster use it, too
  local token
  token=$(openssl rand -hex 16)
  (umask 077 && echo "$token,admin,1,\"system:masters\"" >"$DIR/pki/tokens.csv")
  (umask 077 && cat >"$DIR/kubeconfig") <<K
apiVersion: v1
kind: Config
clusters: [{name: trireme-e2e, cluster: {server: "https://$host_address:6443", certificate-authority-data: $(base64 -w0 "$DIR/pki/ca.crt")}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: trireme-e2e, context: {cluster: trireme-e2e, user: admin}}]
current-context: trireme-e2e
K
}

etcd_up() {
  start etcd cp etcd --data-dir "$DIR/etcd" --logger zap --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380
}

api_up() {
  local pki=$DIR/pki audit=()
  [ "$AUDIT" = off ] || audit=(--audit-policy-file="$here/audit.yaml" --audit-log-path="$DIR/log/audit.log")
  start kube-apiserver cp "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --bind-address="$host_address" --advertise-address="$host_address" --secure-port=6443 \
    --tls-cert-file="$pki/api.crt" --tls-private-key-file="$pki/api.key" --client-ca-file="$pki/ca.crt" --token-auth-file="$pki/tokens.csv" \
    --service-account-key-file="$pki/accounts.key" --service-account-signing-key-file="$pki/accounts.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range="$service_range" \
    --authorization-mode=Node,RBAC --allow-privileged=true --kubelet-preferred-address-types=InternalIP "${audit[@]}"
  wait_for 60 'the API server' kubectl get --raw /readyz
}

controllers_up() {
  start kube-controller-manager cp "$bin/kube-controller-manager" --kubeconfig="$DIR/kubeconfig" --bind-address=127.0.0.1 \
    --service-account-private-key-file="$DIR/pki/accounts.key" --root-ca-file="$DIR/pki/ca.crt" --use-service-account-credentials \
    --allocate-node-cidrs=false --node-monitor-grace-period=10s --leader-elect=false
  start kube-scheduler cp "$bin/kube-scheduler" --kubeconfig="$DIR/kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
}

dns_up() {
  cat >"$DIR/Corefile" <<K
.:53 {
  bind $host_address
  errors
  kubernetes cluster.local {
    kubeconfig $DIR/kubeconfig
    ttl 5
  }
}
K
  start coredns cp "$bin/coredns" -conf "$DIR/Corefile"
}

# Each node keeps its volumes in a folder of its own: whoever loses the node loses its volumes.
volumes_up() {
  local node paths=
  for node in $(nodes); do paths+="${paths:+,}{\"node\":\"$node\",\"paths\":[\"$DIR/$node/volumes\"]}"; done
  printf '{"nodePathMap":[%s]}' "$paths" >"$DIR/volumes.json"
  kubectl apply -f "$here/manifests" >/dev/null
  kubectl -n local-path-storage create configmap local-path-config --dry-run=client -o yaml \
    --from-file=config.json="$DIR/volumes.json" --from-file="$here/manifests/volumes" | kubectl apply -f - >/dev/null
  start local-path-provisioner cp env POD_NAMESPACE=local-path-storage "$bin/local-path-provisioner" start --config "$DIR/volumes.json" \
    --helper-image localhost/busybox:1 --kubeconfig "$DIR/kubeconfig"
}

# In the control plane's namespace, too: the API server reaches webhooks, and tests reach Services, by their ClusterIP.
proxy_up() { # proxy_up n1|cp
  start "kube-proxy-$1" "$1" "$bin/kube-proxy" --kubeconfig="$DIR/kubeconfig" --hostname-override="$1" --proxy-mode=iptables \
    --cluster-cidr="$pod_range" --conntrack-max-per-core=0
}
