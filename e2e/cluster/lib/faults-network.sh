# What breaks the network. In the table `mangle`, which nobody else here writes and which comes before kube-proxy's rules.
# shellcheck shell=bash

cable() { in_ns cp ip link set "v-$1" "$2"; } # cable n1 up|down: at the far end, so that the node keeps its addresses and routes

drop() { # drop NODE CHAIN CONDITION...
  in_ns "$1" iptables -w -t mangle -A "$2" "${@:3}" -j DROP
}

cut_out() { # cut_out n1 [POD-IP...]: nothing that it, or they, send arrives
  local node=$1 address
  shift
  if [ $# = 0 ]; then
    drop "$node" OUTPUT -o eth0
    drop "$node" FORWARD -o eth0
  fi
  for address in "$@"; do drop "$node" FORWARD -s "$address"; done
}

cut_in() { # cut_in n1 [POD-IP...]: nothing that is sent to it, or to them, arrives
  local node=$1 address
  shift
  if [ $# = 0 ]; then
    drop "$node" INPUT -i eth0
    drop "$node" FORWARD -i eth0
  fi
  for address in "$@"; do drop "$node" FORWARD -d "$address"; done
}

cut_path() { # cut_path n1 FROM-IP TO-IP: n1 has one of the two
  drop "$1" FORWARD -s "$2" -d "$3"
}

heal() { # heal n1: of all of the above
  local chain
  for chain in INPUT OUTPUT FORWARD; do in_ns "$1" iptables -w -t mangle -F "$chain"; done
  cable "$1" up
}
