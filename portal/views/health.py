"""Whether Mergeyard itself is well: a page for people, three addresses for machines."""

import secrets

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from executors import health
from executors.health import State
from portal import access

PLAIN = "text/plain; charset=utf-8"


def page(request: HttpRequest) -> HttpResponse:
    found = health.checks()
    worst = next((state for state in (State.BAD, State.WARNING) if any(c.state is state for c in found)), State.OK)
    given = {"section": "health", "checks": found, "worst": worst, "at": timezone.now()}
    access.signed_in(request)
    template = "health/_checks.html" if request.headers.get("HX-Request") else "health/page.html"
    return render(request, template, given)


@login_not_required
def alive(request: HttpRequest) -> HttpResponse:
    """This process answers; nothing else is asked."""
    return HttpResponse("ok\n", content_type=PLAIN)


@login_not_required
def ready(request: HttpRequest) -> HttpResponse:
    """Whether this process can answer pages. It says which part cannot, and no more: anybody may ask."""
    found = health.readiness()
    lines = [f"{check.name}: {check.state}\n" for check in found]
    status = 503 if any(check.state is State.BAD for check in found) else 200
    return HttpResponse("".join(lines), content_type=PLAIN, status=status)


@login_not_required
def metrics(request: HttpRequest) -> HttpResponse:
    """Figures for Prometheus, for who brings MERGEYARD_METRICS_TOKEN; without such a setting there are none."""
    token = settings.MERGEYARD_METRICS_TOKEN
    if not token:
        raise Http404
    if not secrets.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()):
        return HttpResponse("The token is missing or wrong.\n", content_type=PLAIN, status=401)
    registry = CollectorRegistry()
    for name, (help, values) in health.figures().items():
        gauge = Gauge(f"mergeyard_{name}", help, health.LABELS.get(name, ()), registry=registry)
        for labels, value in values.items():
            (gauge.labels(*labels) if labels else gauge).set(value)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
