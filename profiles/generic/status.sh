#!/usr/bin/env bash
# State of job $1 for Snakemake: running, success or failed. A scheduler that no longer knows the job, or does
# not answer, gives "running" for ten minutes of questions, then "failed".
set -u
state=$(scontrol --oneliner show job "$1" 2>/dev/null | grep -oE 'JobState=[A-Z_]+' | cut -d= -f2)
case "$state" in
  COMPLETED) echo success ;;
  PENDING | CONFIGURING | RUNNING | COMPLETING | SUSPENDED | REQUEUED) echo running ;;
  "")
    asked="${TMPDIR:-/tmp}/tubepet-asked-$UID-$1"
    [ -e "$asked" ] || touch "$asked"
    if [ -n "$(find "$asked" -mmin +10)" ]; then echo failed; else echo running; fi
    ;;
  *) echo failed ;;
esac
