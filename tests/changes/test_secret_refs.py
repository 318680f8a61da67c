"""Where a secret may lie, and who may refer to it: one text is one place, and nothing leads out of a prefix."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changes.secret_refs import PREFIX, example, is_secret_ref, is_under, is_writable

GOOD = [
    "env:MERGEYARD_SECRET_KAFKA",
    "file:payments/orders",
    "file:payments/_old/a-b.c",
    "ansible-vault:payments.yml#orders",
    "vault:payments/orders#password",
    "vault:Payments/Orders#api-key.v2",
]


@pytest.mark.parametrize("ref", GOOD)
def test_a_reference_has_the_form_of_its_provider(ref):
    assert is_secret_ref(ref)


@pytest.mark.threat("values.foreign-secret", "values.paths")
@pytest.mark.parametrize(
    "place",
    [
        "",
        "payments",
        "payments/orders",
        "payments/orders#",
        "#password",
        "payments/#password",
        "payments//orders#password",
        "/payments/orders#password",
        "payments/../shop/orders#password",
        "payments/./orders#password",
        "../shop/orders#password",
        "payments/%2e%2e/shop#password",
        "payments%2Fshop#password",
        "payments\\..\\shop#password",
        "payments/orders#pass#word",
        "payments/orders#pass/word",
        "payments/orders?version=1#password",
        "payments/orders #password",
        "payments/ord\u0435rs#password",
        "payments/orders#password\n",
        "payments:orders#password",
    ],
)
@pytest.mark.parametrize("provider", ["vault", "ansible-vault"])
def test_nothing_in_a_reference_climbs_hides_or_repeats(provider, place):
    assert not is_secret_ref(f"{provider}:{place}")
    assert not is_under(f"{provider}:{place}", f"{provider}:payments/")
    assert not is_under(f"{provider}:{place}", f"{provider}:payments")


@pytest.mark.parametrize(
    "ref", ["VAULT:a#b", "Vault:a#b", " vault:a#b", "hunter2", "abc:a", "file:a#b", "env:Home", "vault"]
)
def test_a_provider_is_one_of_four(ref):
    assert not is_secret_ref(ref)


@pytest.mark.threat("values.foreign-secret")
@pytest.mark.parametrize(
    ("ref", "prefix", "under"),
    [
        ("vault:pay/orders#password", "vault:pay/", True),
        ("vault:pay/orders#password", "vault:pay", True),
        ("vault:pay#password", "vault:pay", True),
        ("vault:pay#password", "vault:pay/", False),
        ("vault:payments/orders#password", "vault:pay", False),
        ("vault:Pay/orders#password", "vault:pay/", False),
        ("vault:pay/orders#password", "vault:pay/orders#password", True),
        ("vault:pay/orders#pin", "vault:pay/orders#password", False),
        ("vault:pay/orders#password2", "vault:pay/orders#password", False),
        ("vault:pay/orders#password", "file:pay/", False),
        ("ansible-vault:pay/orders#password", "vault:pay/", False),
        ("ansible-vault:pay.yml#orders", "ansible-vault:pay.yml", True),
        ("ansible-vault:pay.yml.old#orders", "ansible-vault:pay.yml", False),
        ("vault:anything#x", "vault:", True),
        ("ansible-vault:anything#x", "vault:", False),
    ],
)
def test_a_prefix_holds_for_whole_names(ref, prefix, under):
    assert is_under(ref, prefix) is under


NAMES = st.text("ab./%#\\.2eA_-", min_size=1, max_size=12)


@pytest.mark.threat("values.foreign-secret")
@given(NAMES, st.sampled_from(["vault:", "ansible-vault:", "file:"]))
def test_what_is_under_a_prefix_is_below_it_however_a_server_reads_the_path(name, provider):
    """The last line of defence: resolved as a server would resolve it, the place is still below the prefix."""
    from posixpath import normpath
    from urllib.parse import unquote

    ref = f"{provider}a/{name}"
    if is_under(ref, f"{provider}a/"):
        path = unquote(ref.partition(":")[2].partition("#")[0]).replace("\\", "/")
        assert normpath(path) == path
        assert path.startswith("a/")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("vault:payments/", True),
        ("vault:payments", True),
        ("vault:payments/orders#password", True),
        ("ansible-vault:payments.yml", True),
        ("file:payments/", True),
        ("env:MERGEYARD_SECRET_PAY_", True),
        ("vault:", False),
        ("vault:payments//", False),
        ("vault:payments/../", False),
        ("vault:payments/#x", False),
        ("env:HOME", False),
        ("file:payments#x", False),
    ],
)
def test_what_a_team_may_be_given(text, good):
    assert (PREFIX.fullmatch(text) is not None) is good


@pytest.mark.threat("values.long")
def test_a_long_prefix_that_is_none_is_refused_at_once():
    begun = time.process_time()
    for provider in ("file", "vault", "ansible-vault", "env"):
        assert not PREFIX.fullmatch(f"{provider}:{'a' * 100_000}!")
        assert not is_secret_ref(f"{provider}:{'a' * 100_000}!")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("prefix", "only", "found"),
    [
        ("file:pay/", True, "file:pay/orders"),
        ("file:pay/", False, "file:pay/orders-api-key"),
        ("vault:pay/", True, "vault:pay/orders#api_key"),
        ("vault:pay/", False, "vault:pay/orders#api_key"),
        ("ansible-vault:pay.yml", True, "ansible-vault:pay.yml#orders"),
        ("ansible-vault:pay/", True, ""),
        ("vault:pay/orders#password", True, ""),
        ("env:MERGEYARD_SECRET_PAY_", True, ""),
    ],
)
def test_an_example_is_a_reference_under_its_prefix(prefix, only, found):
    assert example(prefix, name="orders", field="api_key", only=only) == found
    assert not found or is_under(found, prefix)


def test_only_what_a_worker_can_write_to_is_generated_into():
    assert [ref for ref in GOOD if is_writable(ref)] == [*GOOD[1:3], *GOOD[4:]]
