"""Shards of a list, fetched by the workers of a Ray cluster.

    overlapped shard urls.txt -n 512 -o shards/
    python with_ray.py shards/ results/ 8

A worker is a process with a fetcher that lives as long as the job. A block is a shard, which one worker has, so the limits of
a host hold. Needs `pip install 'ray[data]' overlapped`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ray
import ray.data
from overlapped.arrow import Fetcher
from ray.data.checkpoint import CheckpointConfig


def main(shards: str, results: str, workers: int) -> None:
    context = ray.data.DataContext.get_current()
    # A shard is a block, neither joined with others nor split at its row groups: two actors would ask the same hosts.
    context.use_datasource_v2 = False
    context.target_max_block_size = 1 << 30
    # A job that was killed goes on: rows whose `id` is written are not read again.
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=f"{Path(results).absolute()}.checkpoint"
    )
    files = sorted(str(path) for path in Path(shards).absolute().glob("shard-*.parquet"))
    # All of them mostly wait. The filter of a job that goes on has a processor of its own: with whole processors for the
    # others, a machine of two could not begin.
    share = {"num_cpus": 0.25}
    dataset = ray.data.read_parquet(files, override_num_blocks=len(files), ray_remote_args=share).map_batches(
        Fetcher,
        fn_constructor_kwargs={"retries": 3, "per_host": 6},
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers),
        **share,
    )
    dataset.write_parquet(str(Path(results).absolute()), ray_remote_args=share)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 2)
