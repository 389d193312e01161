# Programs of the cluster: each runs in a namespace, has a log, and is found again by its pid.
# shellcheck shell=bash

in_ns() { # in_ns NAMESPACE COMMAND...; not `ip netns exec`, which mounts /sys again and so hides the cgroups
  nsenter --net="/run/netns/$PREFIX-$1" "${@:2}"
}

start() { # start NAME NAMESPACE COMMAND...
  local name=$1 namespace=$2
  shift 2
  setsid nsenter --net="/run/netns/$PREFIX-$namespace" "$@" </dev/null >>"$DIR/log/$name.log" 2>&1 &
  echo "$! $namespace" >"$DIR/pid/$name"
}

# A pid may have gone to another process: ours is the one in our namespace.
pid_of() { # pid_of NAME
  local pid namespace
  read -r pid namespace 2>/dev/null <"$DIR/pid/$1" || return 1
  [ "$(stat -Lc %i "/proc/$pid/ns/net" 2>/dev/null)" = "$(stat -Lc %i "/run/netns/$PREFIX-$namespace" 2>/dev/null)" ] || return 1
  [ "$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null)" != Z ] || return 1
  echo "$pid"
}

runs() { pid_of "$1" >/dev/null; }

stop() { # stop NAME [SIGNAL]: done when the process is gone
  local pid
  pid=$(pid_of "$1") || return 0
  kill "-${2:-KILL}" "$pid" 2>/dev/null
  for _ in $(seq 100); do
    runs "$1" || return 0
    sleep 0.05
  done
  kill -KILL "$pid" 2>/dev/null || true
}

# Of a node: also those of its pods, which have namespaces of their own. A command run by `exec` may be the one that called us: it is left out.
pids_in() { # pids_in n1|cp
  {
    ip netns pids "$PREFIX-$1"
    find /sys/fs/cgroup/*/"$PREFIX-$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  } | sort -nu | grep -vxF -e 0 -e "$(ancestors)" || true
}

kill_all_in() { # kill_all_in NAMESPACE...: done when none is left
  local pids namespace
  for _ in $(seq 100); do
    pids=$(for namespace in "$@"; do pids_in "$namespace"; done)
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
  fail "these processes do not end: $pids"
}

ancestors() { # pids of this process and of those that wait for it
  local pid=$$
  while [ "$pid" -gt 1 ]; do
    echo "$pid"
    pid=$(cut -d' ' -f4 "/proc/$pid/stat")
  done
}

wait_for() { # wait_for SECONDS WHAT COMMAND...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "gave up waiting for $what: see $DIR/log"
    sleep 0.1
  done
}

kubectl() { KUBECONFIG=$DIR/kubeconfig in_ns cp "$bin/kubectl" "$@"; }
