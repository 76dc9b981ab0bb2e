#!/usr/bin/env bash
# Stop what up.sh FOLDER started, by its pid files, and remove its link.
set -u
folder=$1
timeout 20 scancel --user="$(id -un)" 2>/dev/null
for name in slurmd slurmctld munged; do
  pid=$(cat "$folder/pids/$name" 2>/dev/null) || continue
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ] || continue
  kill "$pid"
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
done
[ "$(readlink /etc/slurm/slurm.conf)" = "$folder/slurm.conf" ] && rm /etc/slurm/slurm.conf
exit 0
