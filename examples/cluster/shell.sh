#!/bin/sh
# A list in shards, several of which are fetched at a time: on one machine, or on several that see the same directory, each of
# which runs this with a part of the numbers.
#
#   shell.sh urls.txt 64 4          # 64 shards, 4 at a time, into shards/ and results/
#
# The same command again goes on where it was, also after a crash.
set -eu
list=$1 shards=$2 at_once=${3:-2}

[ -e shards/plan.json ] || overlapped shard "$list" -n "$shards" -o shards
mkdir -p results

# 1 says that some rows have failed, which their records tell: the shard is done.
fetch='
    name=$(printf "shard-%05d" "$1")
    overlapped fetch "shards/$name.parquet" -s --resume -o "results/$name.parquet" --manifest "results/$name.json" ||
        [ $? -eq 1 ]'
seq 0 $((shards - 1)) | xargs -n 1 -P "$at_once" sh -c "$fetch" fetch

overlapped verify results --plan shards
