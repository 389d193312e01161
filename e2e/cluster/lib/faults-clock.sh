# What moves the wall clock of one process. A time namespace moves other clocks only, and the machine has one wall clock for everybody: so the function
# that a process reads it with, in a page that the kernel gives to each, is written over in this one. Nothing else notices, and a new process has its own.
# shellcheck shell=bash

vdso() { # vdso PID: where that page begins, and its length, in bytes
  local range
  range=$(sed -n 's/^\([0-9a-f-]*\) .*\[vdso\]$/\1/p' "/proc/$1/maps")
  [ -n "$range" ] || fail "process $1 has no page to read clocks with"
  echo "$((0x${range%-*})) $((0x${range#*-} - 0x${range%-*}))"
}

# Stopped, and not in the middle of that function: it is short, so the next look finds it elsewhere.
stop_outside() { # stop_outside PID BEGIN LENGTH
  local pc
  for _ in $(seq 50); do
    kill -STOP "$1"
    sleep 0.02
    for pc in $(awk '{print $NF}' "/proc/$1"/task/*/syscall); do
      if [[ $pc != 0x* ]] || ((pc >= $2 && pc < $2 + $3)); then
        kill -CONT "$1"
        sleep 0.01
        continue 2
      fi
    done
    return 0
  done
  fail "process $1 was always seen reading its clock, or running"
}

move_clock() { # move_clock n1 NAMESPACE/POD SECONDS [CONTAINER]: ahead, or back where negative; each call counts from the machine's own clock
  local pid begin length at seconds=$3 byte code page
  [[ $seconds =~ ^-?[0-9]{1,8}$ ]] || fail "'$seconds' is no number of seconds"
  pid=$(replica_pid "$1" "$2" "${@:4}") || exit
  read -r begin length < <(vdso "$pid")
  page=$(mktemp)
  dd if="/proc/$pid/mem" of="$page" bs=4096 skip=$((begin / 4096)) count=$((length / 4096)) status=none
  at=$(readelf -W --dyn-syms "$page" | awk '$8 ~ /^__vdso_clock_gettime@/ {print $2}')
  rm -f "$page"
  [ -n "$at" ] || fail "process $pid reads its clock in another way than is known here"
  # clock_gettime(2); where it was asked for the wall clock, so many seconds are added.
  code='\xb8\xe4\x00\x00\x00\x0f\x05\x85\xff\x75\x07\x48\x81\x06'
  for byte in 0 8 16 24; do code+=$(printf '\\x%02x' $(((seconds >> byte) & 255))); done
  code+='\xc3'
  stop_outside "$pid" "$begin" "$length"
  # shellcheck disable=SC2059
  printf "$code" | dd of="/proc/$pid/mem" bs=1 seek=$((begin + 0x$at)) conv=notrunc status=none || { kill -CONT "$pid"; fail "the clock of $pid cannot be moved"; }
  kill -CONT "$pid"
}
