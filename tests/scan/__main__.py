"""`bin/soak scan`: wapiti and schemathesis against a demo of its own, signed in, on loopback. Minutes, and not in CI.

wapiti crawls the pages and attacks every parameter and form that it finds; schemathesis calls every address of the
resolver with values that no page links to. What would need a server of others on the Internet (SSRF, XXE) is left out.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / ".venv" / "scan" / "bin"
MODULES = "cookieflags,crlf,csp,csrf,exec,file,htaccess,http_headers,ldap,methods,permanentxss,redirect,sql,upload,xss"
SLOW_MS = 1000
EXPECTED = {
    "Secure Flag cookie",
    "HttpOnly Flag cookie",
}  # over plain HTTP; and Django's CSRF cookie, which is no secret
LEFT_OUT = ("logout/", "events/", "theme/")


def arguments():
    parser = argparse.ArgumentParser(prog="bin/soak scan", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5, help="for wapiti's attacks, at most (5)")
    parser.add_argument("--examples", type=int, default=20, help="of schemathesis for each address (20)")
    parser.add_argument("--as", dest="person", default="pat", help="who is signed in (pat, of the platform team)")
    parser.add_argument("--reports", type=Path, help="where the two reports are kept")
    return parser.parse_args()


def main():
    options = arguments()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from portal.demo.browser import Person
    from portal.demo.home import Home
    from tests.journeys.conftest import start_stack

    with tempfile.TemporaryDirectory(prefix="scan-") as scratch:
        reports = (options.reports or Path(scratch)).resolve()
        reports.mkdir(parents=True, exist_ok=True)
        stack = start_stack(Path(scratch) / "home")
        try:
            home = Home(stack.home, stack.port, {"password": stack.password})
            propose_something(Person("ana", home))
            person = Person(options.person, home)
            person.start_request()
            cookies = person.browser.session.cookies.get_dict()
            before = time.monotonic()
            api = schemathesis(stack, person, cookies, reports, examples=options.examples)
            found, pages = wapiti(stack, cookies, reports, minutes=options.minutes)
            errors = sum(log.read_text(errors="replace").count("Traceback") for log in (stack.home / "logs").glob("*"))
        finally:
            stack.stop()
    took = time.monotonic() - before
    print(
        f"wapiti: {found or 'nothing'} on {pages} pages; "
        f"schemathesis: {api}; tracebacks in logs: {errors} ({took:.0f} s)"
    )
    return int(bool(found) or not api.endswith("0 failed") or errors > 0)


def header(cookies):
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def schemathesis(stack, person, cookies, reports, *, examples):
    """How many addresses were called, and how many answered with a 5xx, late, or with an unknown type."""
    from tests.scan.openapi import described

    schema = reports / "openapi.json"
    schema.write_text(json.dumps(described(links(person), token=cookies["csrftoken"])))
    argv = [PROGRAMS / "schemathesis", "run", schema, "--base-url", stack.address, "--header"]
    argv += [f"Cookie: {header(cookies)}", "--checks", "not_a_server_error,content_type_conformance"]
    argv += ["--max-response-time", str(SLOW_MS), "--hypothesis-max-examples", str(examples), "--hypothesis-seed", "1"]
    argv += [
        "--schemathesis-io-telemetry",
        "false",
        "--request-timeout",
        "20000",
        "--hypothesis-suppress-health-check",
        "all",
        "--validate-schema",
        "false",
    ]
    with (reports / "schemathesis.txt").open("w") as report:
        subprocess.run(list(map(str, argv)), stdout=report, stderr=report, env=own_environment(reports), check=False)
    said = (reports / "schemathesis.txt").read_text()
    failed = len(set(re.findall(r"^_+ (?:GET|POST) (\S+)", said, re.MULTILINE)))
    called = re.search(r"Collected API operations: (\d+)", said)
    if called is None:
        raise SystemExit(f"schemathesis could not begin:\n{said[-2000:]}")
    return f"{called[1]} operations, {failed} failed"


def links(person):
    """Paths that the pages link to and that their forms send to, three clicks deep."""
    found, todo = set(), ["/"]
    person.browser.raise_on_404 = False
    for _ in range(3):
        following = set()
        for path in todo[:60]:
            person.open(path)
            page = person.browser.page
            named = page.select("a[href], form[action], [hx-get], [hx-post]") if page else []
            values = {tag.get(name, "") for tag in named for name in ("href", "action", "hx-get", "hx-post")}
            following |= {re.split("[?#]", value)[0] for value in values if re.match("/(?!/)", value)}
        todo = sorted(following - found)
        found |= following
    return found


def propose_something(ana):
    """So that there is a request to look at."""
    draft = ana.start_request()
    ana.write(
        draft, "resources/payments/kafka-test/KafkaTopic/scanned.yml", "kind: KafkaTopic\nspec:\n  partitions: 2\n"
    )
    ana.propose(draft, title="A topic", reason="To be looked at.")


def wapiti(stack, cookies, reports, *, minutes):
    """What it found, as a text: sort and how often; empty if nothing. Then how many pages it crawled."""
    report = reports / "wapiti.json"
    argv = [PROGRAMS / "wapiti", "-u", f"{stack.address}/", "-C", header(cookies), "-m", MODULES]
    argv += [
        "--scope",
        "folder",
        "--flush-session",
        "--store-session",
        reports,
        "--store-config",
        reports,
        "-f",
        "json",
    ]
    argv += ["-o", report, "--no-bugreport", "-d", "4", "--max-links-per-page", "60", "--max-scan-time", "180"]
    argv += ["--max-attack-time", str(int(minutes * 60 / len(MODULES.split(",")) * 2)), "-t", "10"]
    for path in LEFT_OUT:
        argv += ["-x", f"{stack.address}/{path}*"]
    with (reports / "wapiti.txt").open("w") as said:
        subprocess.run(list(map(str, argv)), stdout=said, stderr=said, env=own_environment(reports), check=False)
    if not report.exists():
        raise SystemExit(f"wapiti could not end:\n{(reports / 'wapiti.txt').read_text()[-2000:]}")
    told = json.loads(report.read_text())
    sorts = Counter({sort: len(found) for sort, found in {**told["vulnerabilities"], **told["anomalies"]}.items()})
    found = ", ".join(f"{count} {sort}" for sort, count in sorted(sorts.items()) if count and sort not in EXPECTED)
    return found, told["infos"]["crawled_pages_nbr"]


def own_environment(home):
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}


if __name__ == "__main__":
    sys.exit(main())
