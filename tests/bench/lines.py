"""A run that prints very many lines: none is lost, a run beside it goes on, and its page opens at the end at once.

Two workers are processes of their own; the page is asked for in this one.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.yard import open_yard

ROOT = Path(__file__).parents[2]


def flaws(texts, lines):
    """Of the numbered lines among what a run of so many has printed: how many are lost, doubled, out of order."""
    numbers = [int(text.split()[1]) for text in texts if text.startswith("line ")]
    return {
        "lost": lines - len(set(numbers)),
        "doubled": len(numbers) - len(set(numbers)),
        "out of order": sum(one > other for one, other in itertools.pairwise(numbers)),
    }


def main():
    parser = argparse.ArgumentParser(prog="bin/bench lines", description=__doc__.split("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, in place of SQLite")
    options = parser.parse_args()
    with open_yard(postgresql=options.postgresql) as yard:
        from django.conf import settings
        from django.test import Client
        from django.urls import reverse

        from executors.models import Event, Run
        from executors.reconcile import reconcile
        from tests.executors.conftest import box, document

        environment = os.environ | {"MERGEYARD_CATALOG": ",".join(map(str, settings.MERGEYARD_CATALOG))}
        workers = [
            subprocess.Popen([sys.executable, "manage.py", "worker"], cwd=ROOT, env=environment) for _ in range(2)
        ]

        def merge(changes):
            yard.merge(changes)
            began = time.monotonic()
            while reconcile():
                pass
            return began, yard.items()[-1]

        def until_done(item):
            while not item.finished_at:
                time.sleep(0.02)
                item.refresh_from_db()
            assert item.state == "succeeded", item.reason

        def short(size):
            began, item = merge({box("orders", "shelf-b"): document("Box", size=size)})
            until_done(item)
            return time.monotonic() - began

        try:
            alone = min(short(size) for size in range(1, 6))
            began, long = merge({box("chatty"): document("Box", trouble=f"pour {options.lines}")})
            while not Event.objects.filter(run__item=long).exists():
                time.sleep(0.05)
            beside = []
            while not long.finished_at:
                beside.append(short(10 + len(beside)))
                long.refresh_from_db()
            took = time.monotonic() - began
            run = Run.objects.get(item=long)
            texts = Event.objects.filter(run=run, text__startswith="line ").order_by("number")
            found = flaws(texts.values_list("text", flat=True).iterator(), options.lines)
            client = Client(headers={"host": "localhost"})
            client.force_login(yard.user("rita"))
            address = reverse("rollout", args=[long.rollout_id])
            client.get(address)
            began = time.monotonic()
            page = client.get(address, {"item": long.pk})
            opened = time.monotonic() - began
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait()
    beside.sort()
    said = ", ".join(f"{name} {count}" for name, count in found.items())
    print(f"lines {options.lines}, {said}, {options.lines / took:,.0f} a second")
    print(
        f"a run of one task alone {alone:.2f} s; beside it {len(beside)} of them, median "
        f"{beside[len(beside) // 2]:.2f} s, longest {beside[-1]:.2f} s"
    )
    shown = f"line {options.lines - 1}".encode() in page.content
    print(f"its page: status {page.status_code}, {opened:.3f} s, {len(page.content):,} bytes, last line shown {shown}")
    sys.exit(int(any(found.values()) or not shown))


if __name__ == "__main__":
    main()
