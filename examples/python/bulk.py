"""A list of URLs in, one record for each out: no event loop, no threads of one's own.

python examples/python/bulk.py urls.txt results.ndjson
"""

import sys

import overlapped


def main(urls: str, results: str) -> int:
    run = overlapped.fetch(urls, out=results, resume=True)
    for record in run:
        if not record.ok:
            print(f"{record.url}: {record.error}: {record.error_message}", file=sys.stderr)
    print(f"{run.stats['ok']} of {run.stats['done']} succeeded in {run.stats['elapsed']:.1f} s")
    return 0 if run.stats["failed"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
