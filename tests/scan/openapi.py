"""An OpenAPI description of every address of the portal, from its resolver: so none is forgotten."""

import re

from django.urls import Resolver404, URLPattern, URLResolver, get_resolver

NOT_SCANNED = {
    "logout": "it ends the session of the scan",
    "events": "a stream does not end",
}
CONTENT = ("text/html", "text/plain", "application/json", "text/css", "text/javascript")
TYPES = {"int": {"type": "integer", "minimum": 0, "maximum": 2**63}, "path": {"type": "string", "minLength": 1}}
REAL = 2
QUERY = ("q", "page", "after", "before", "state", "path", "kind", "system", "team", "tab")
FIELDS = ("title", "reason", "text", "path", "digest", "head", "answer", "kind", "system", "name", "next", "theme")
TEXT = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}


def addresses(resolver=None, prefix=""):
    """(name, path with {parameters}, parameter -> schema) of each."""
    for one in (resolver or get_resolver()).url_patterns:
        route = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from addresses(one, route)
        elif isinstance(one, URLPattern):
            found = re.findall(r"<(?:(\w+):)?(\w+)>", route)
            yield one.name, "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route), {n: TYPES.get(t, TEXT) for t, n in found}


def described(linked, *, token):
    """`linked`: paths that pages link to. Each route is described with its parameters, and with some of those paths."""
    paths = {}
    for name, path, parameters in addresses():
        if name in NOT_SCANNED:
            continue
        for one, given in [(path, parameters), *((real, {}) for real in sorted(of_route(name, linked))[:REAL])]:
            paths[one] = {verb: _operation(verb, given, token=token) for verb in ("get", "post")}
    return {"openapi": "3.0.3", "info": {"title": "Mergeyard", "version": "1"}, "paths": paths}


def of_route(name, paths):
    """Those of them that belong to the route."""
    for path in paths:
        try:
            match = get_resolver().resolve(path)
        except Resolver404:
            continue
        if match.url_name == name and match.kwargs:
            yield path


def _operation(verb, parameters, *, token):
    given = [{"name": n, "in": "path", "required": True, "schema": schema} for n, schema in parameters.items()]
    for name in QUERY if verb == "get" else ():
        given.append({"name": name, "in": "query", "schema": {"type": "string"}})
    answers = {"description": "Any", "content": {content: {} for content in CONTENT}}
    operation = {"parameters": given, "responses": {"default": answers}}
    if verb == "post":
        fields = {name: {"type": "string"} for name in FIELDS} | {"csrfmiddlewaretoken": {"enum": [token]}}
        form = {"type": "object", "properties": fields, "required": ["csrfmiddlewaretoken"]}
        operation["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": form}}}
    return operation
