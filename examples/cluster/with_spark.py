"""Shards of a list, fetched by the executors of Spark.

    overlapped shard urls.txt -n 512 -o shards/
    spark-submit with_spark.py shards/ results/

A partition is a shard, which one task has, so the limits of a host hold. Needs pyspark, pyarrow and overlapped where Python runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from overlapped.arrow import map_batches, output_schema
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema


def main(shards: str, results: str) -> None:
    spark = (
        SparkSession.builder.appName("overlapped")
        # A file is a partition: neither split nor joined with another one.
        .config("spark.sql.files.maxPartitionBytes", str(1 << 30))
        .config("spark.sql.files.openCostInBytes", str(1 << 30))
        # A task that is slow waits for a host: a second one would ask the same hosts.
        .config("spark.speculation", "false")
        .getOrCreate()
    )
    rows = spark.read.parquet(str(Path(shards).absolute() / "shard-*.parquet"))
    schema = from_arrow_schema(output_schema(to_arrow_schema(rows.schema)))
    fetched = rows.mapInArrow(map_batches(retries=3, per_host=6), schema)
    fetched.write.mode("overwrite").parquet(str(Path(results).absolute()))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
