"""A cluster of Ray of three nodes on this machine, on which with_ray.py runs: ray_cluster.py SHARDS RESULTS.

A line "remove" on standard input takes the node away that an actor runs on: its processes are killed.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import ray
import with_ray
from ray.cluster_utils import Cluster

MEMORY = 100 << 20


def has_actor(node: Any) -> bool:
    """Whether an actor that fetches is a process of this node."""
    raylet = node.all_processes["raylet"][0].process.pid
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if parent == raylet and words.startswith("ray::") and "Map" in words:
            return True
    return False


def remove(cluster: Cluster, nodes: list[Any]) -> None:
    """Takes away a node with an actor that fetches."""
    for line in sys.stdin:
        assert line.strip() == "remove"
        cluster.remove_node(next(node for node in nodes if has_actor(node)), allow_graceful=False)
        print("removed", flush=True)


def main(shards: str, results: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": MEMORY})
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=MEMORY) for _ in range(2)]
    ray.init(address=cluster.address)
    threading.Thread(target=remove, args=(cluster, nodes), daemon=True).start()
    try:
        # So many actors that not all are on the node of the driver, which cannot go.
        with_ray.main(shards, results, 3)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
