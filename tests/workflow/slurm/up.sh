#!/usr/bin/env bash
# Start one-node Slurm on the loopback address: up.sh FOLDER. As root, without systemd and cgroups, from
# Debian's slurm-wlm and munge, with a key of its own. All state lies in FOLDER but for the link
# /etc/slurm/slurm.conf: the plugin's inner srun drops SLURM_CONF and looks there.
set -euo pipefail
folder=$1
host=$(hostname -s)
mkdir -p "$folder"/{pids,log,ctld,d,munge,sock}
chmod 755 "$folder" "$folder"/*
chmod 700 "$folder/munge"
if [ -e /etc/slurm/slurm.conf ] || [ -L /etc/slurm/slurm.conf ]; then
  echo "/etc/slurm/slurm.conf exists: another Slurm is set up here" >&2
  exit 1
fi

(umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
munged --key-file="$folder/munge/key" --socket="$folder/sock/munge" --pid-file="$folder/pids/munged" \
  --log-file="$folder/log/munged" --seed-file="$folder/munge/seed" --num-threads=2

eval "$(slurmd -C | head -1 | grep -oE '(CPUs|RealMemory)=[0-9]+')"
cat >"$folder/slurm.conf" <<C
ClusterName=tubepet
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmdPort=${SLURMD_PORT:-16818}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$folder/sock/munge
CryptoType=crypto/munge
StateSaveLocation=$folder/ctld
SlurmdSpoolDir=$folder/d
SlurmctldPidFile=$folder/pids/slurmctld
SlurmdPidFile=$folder/pids/slurmd
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Memory by polling, since there are no cgroups.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=200000,bf_interval=5,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=3600
KillWait=5
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$CPUs RealMemory=$((RealMemory - 512)) Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=1-00:00:00 DefMemPerCPU=1000 State=UP
PartitionName=gpu Nodes=ALL MaxTime=1-00:00:00 DefMemPerCPU=1000 State=UP
C
printf 'NodeName=%s Name=gpu File=/dev/%s\n' "$host" zero "$host" full >"$folder/gres.conf" # schedulable, no devices
mkdir -p /etc/slurm
ln -s "$folder/slurm.conf" /etc/slurm/slurm.conf

slurmctld -f "$folder/slurm.conf" # gres.conf is looked for beside it
for _ in $(seq 100); do
  timeout 5 scontrol ping 2>/dev/null | grep -q 'is UP' && break
  sleep 0.1
done
slurmd -f "$folder/slurm.conf" -N "$host"
for _ in $(seq 300); do
  timeout 5 sinfo --noheader --format=%T 2>/dev/null | grep -qE 'idle|mixed' && exit 0
  sleep 0.1
done
tail -n 5 -- "$folder"/log/* >&2
exit 1
