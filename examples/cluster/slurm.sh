#!/bin/sh
# A shard for each task of an array of Slurm, 16 at a time.
#
#   overlapped shard urls.txt -n 512 -o shards && mkdir -p results
#   sbatch --wait slurm.sh && overlapped verify results --plan shards
#
#SBATCH --array=0-511%16
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --requeue
name=$(printf 'shard-%05d' "$SLURM_ARRAY_TASK_ID")
overlapped fetch "shards/$name.parquet" --progress plain --resume \
    -o "results/$name.parquet" --manifest "results/$name.json" || [ $? -eq 1 ]
