# What stops and kills processes: of one container, of a node, of the control plane.
# shellcheck shell=bash

container_pid() { # container_pid n1 NAMESPACE/POD [CONTAINER]: its first process
  local node=$1 namespace=${2%%/*} pod=${2##*/} name=${3:-} label=io.kubernetes filter ids pid
  filter="labels.\"$label.pod.namespace\"==$namespace,labels.\"$label.pod.name\"==$pod,labels.\"io.cri-containerd.kind\"==container"
  [ -z "$name" ] || filter+=",labels.\"$label.container.name\"==$name"
  ids=$(ctr -a "$run/$node.sock" -n k8s.io containers ls -q "$filter")
  [ -n "$ids" ] || fail "no container of pod $2 is on $node"
  pid=$(ctr -a "$run/$node.sock" -n k8s.io tasks ls | grep -F "$ids" | awk '$3 != "STOPPED" {print $2; exit}')
  [ -n "$pid" ] || fail "no container of pod $2 runs on $node"
  echo "$pid"
}

# The first process of a container may only watch over the one that does the work.
replica_pid() { # replica_pid n1 NAMESPACE/POD [CONTAINER]
  local first child
  first=$(container_pid "$@") || exit
  child=$(cat "/proc/$first/task"/*/children 2>/dev/null | awk '{print $1; exit}')
  echo "${child:-$first}"
}

freeze() { # freeze CGROUP FROZEN|THAWED: with all below it; returns when it is so
  local state=$cgroups/freezer/$1/freezer.state
  echo "$2" >"$state"
  wait_for 5 "$1 to be $2" grep -qx "$2" "$state"
}

container_cgroup() { # container_cgroup n1 NAMESPACE/POD [CONTAINER]
  local pid
  pid=$(container_pid "$@") || exit
  sed -n 's/^[0-9]*:freezer:\///p' "/proc/$pid/cgroup"
}

# Each takes n1 NAMESPACE/POD [CONTAINER].
stop_container() { local group; group=$(container_cgroup "$@"); freeze "$group" FROZEN; }
start_container() { local group; group=$(container_cgroup "$@"); freeze "$group" THAWED; }
kill_container() { local pid; pid=$(container_pid "$@"); kill -KILL "$pid"; }
stop_replica() { local pid; pid=$(replica_pid "$@"); kill -STOP "$pid"; }
start_replica() { local pid; pid=$(replica_pid "$@"); kill -CONT "$pid"; }
kill_replica() { local pid; pid=$(replica_pid "$@"); kill -KILL "$pid"; }

# A machine that hangs: nothing in it runs, and it answers to nobody. Woken up, its processes go on as if nothing had been.
stop_node() { # stop_node n1
  cable "$1" down
  stop "kubelet-$1"
  freeze "$PREFIX-$1" FROZEN
}

# A machine without power: its processes are gone, its disk is not.
kill_node() { # kill_node n1
  cable "$1" down
  freeze "$PREFIX-$1" THAWED
  kill_all_in "$1"
  remove_shim_sockets "$run/$1"
}

start_node() { # start_node n1: after either
  cable "$1" up
  freeze "$PREFIX-$1" THAWED
  runs "containerd-$1" || containerd_up "$1"
  runs "kube-proxy-$1" || proxy_up "$1"
  runs "kube-router-$1" || policies_up "$1"
  runs "kubelet-$1" || kubelet_up "$1"
}

api_server() { # api_server down|up
  case $1 in
    down) stop kube-apiserver ;;
    up) runs kube-apiserver || api_up ;;
  esac
}

etcd_server() { # etcd_server down|up
  case $1 in
    down) stop etcd ;;
    up)
      runs etcd || etcd_up
      ! runs kube-apiserver || wait_for 60 'the API server' kubectl get --raw /readyz
      ;;
  esac
}
