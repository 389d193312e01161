# Namespaces and what connects them: the control plane's holds a bridge, to which each node has a cable. Nothing leads out.
# shellcheck shell=bash

network_up() {
  local node
  ip netns add "$PREFIX-cp"
  in_ns cp ip link set lo up
  in_ns cp ip link add br0 type bridge
  in_ns cp ip addr add "$host_address/24" dev br0
  in_ns cp ip link set br0 up
  in_ns cp sysctl -qw net.ipv4.ip_forward=1
  # A route to the Services, so that a packet to one is made at all; kube-proxy then writes another address into it.
  in_ns cp ip route add "$service_range" dev br0
  for node in $(nodes); do node_network_up "$node"; done
  for node in $(nodes); do routes_to_pods "$node"; done
}

node_network_up() { # node_network_up n1
  local node=$1
  ip netns add "$PREFIX-$node"
  in_ns "$node" ip link set lo up
  in_ns cp ip link add "v-$node" type veth peer name eth0 netns "$PREFIX-$node"
  in_ns cp ip link set "v-$node" master br0 up
  in_ns "$node" ip addr add "$(node_address "$node")/24" dev eth0
  in_ns "$node" ip link set eth0 up
  in_ns "$node" ip route add default via "$host_address"
  in_ns "$node" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
}

routes_to_pods() { # routes_to_pods n1: from everywhere else
  local node=$1 other
  in_ns cp ip route add "$(node_pods "$node")" via "$(node_address "$node")"
  for other in $(nodes); do
    [ "$other" = "$node" ] || in_ns "$other" ip route add "$(node_pods "$node")" via "$(node_address "$node")"
  done
}
