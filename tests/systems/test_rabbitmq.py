"""What only RabbitMQ has: messages that arrive or not, by what users, bindings and policies say."""

from importlib.util import module_from_spec, spec_from_file_location

import ansible.module_utils
import pytest

from tests.systems.catalogue import PLAYBOOKS, Kind
from tests.systems.test_kafka import told

ansible.module_utils.__path__.append(str(PLAYBOOKS / "plugins" / "module_utils"))

pytestmark = [pytest.mark.systems]
VHOST, USER, POLICY, QUEUE = (Kind("rabbitmq", f"Rabbit{name}") for name in ("Vhost", "User", "Policy", "Queue"))


@pytest.fixture
def stage(stages):
    stage = stages("rabbitmq")
    stage.prepare(QUEUE)
    return stage


def publish(stage, key, *, exchange="amq.topic", vhost="conformance"):
    body = {"properties": {}, "routing_key": key, "payload": "hello", "payload_encoding": "string"}
    place = ("exchanges", vhost, exchange, "publish")
    return stage.module._ask(stage.testbed, "POST", *place, body=body)[1]["routed"]


def test_a_binding_brings_the_messages_it_names_and_no_others(stage):
    vhost = VHOST.resource()  # of its own: others' queues may be bound to the same exchange
    where = vhost["spec"]["name"]
    queue = QUEUE.resource(vhost=where, bindings=[{"exchange": "amq.topic", "routing_key": "invoices.*"}])
    stage.play(replaced=[vhost, queue])
    assert publish(stage, "invoices.paid", vhost=where)
    assert not publish(stage, "parcels.sent", vhost=where)
    stage.play(replaced=[QUEUE.changed(queue, bindings=[])])
    assert not publish(stage, "invoices.paid", vhost=where)
    stage.play(deleted=[queue, vhost])


def test_a_policy_holds_for_the_queues_that_match(stage):
    queue = QUEUE.resource(bindings=[])
    name = queue["spec"]["name"]
    policy = POLICY.resource(pattern=f"^{name}", priority=900, max_length=2)
    stage.play(replaced=[policy, queue])
    for _ in range(5):
        assert publish(stage, name, exchange="amq.default")
    body = {"count": 10, "ackmode": "ack_requeue_false", "encoding": "auto"}
    kept = stage.module._ask(stage.testbed, "POST", "queues", "conformance", name, "get", body=body)[1]
    assert len(kept) == 2
    stage.play(deleted=[queue, policy])


def test_everything_of_an_application_comes_and_goes_in_one_play(stage):
    vhost = VHOST.resource()
    where = vhost["spec"]["name"]
    queue, policy = QUEUE.resource(vhost=where, bindings=[]), POLICY.resource(vhost=where)
    user = USER.resource(permissions=[{"vhost": where, "configure": "^$", "write": "^$", "read": ".*"}])
    everything = [queue, user, vhost, policy]
    assert stage.play(replaced=everything).failed == []
    assert stage.play(replaced=everything).changed == []
    assert stage.play(deleted=everything).failed == []
    assert stage.read(vhost) is None


def test_the_tags_of_a_virtual_host_stay_when_it_is_taken_over_or_changed(stage):
    vhost = {**VHOST.resource(max_queues=5), "adopt": True}
    place = ("vhosts", vhost["spec"]["name"])
    stage.module._ask(stage.testbed, "PUT", *place, body={"description": "theirs", "tags": "qa,production"})
    for one in (vhost, VHOST.changed(vhost, max_queues=6)):
        assert stage.play(replaced=[one]).changed == [vhost["path"]]
        row = stage.module._ask(stage.testbed, "GET", *place)[1]
        assert (row["description"], row["tags"]) == (f"Managed by Mergeyard: {vhost['path']}", ["qa", "production"])
    stage.play(deleted=[vhost])


def test_the_user_that_works_here_is_never_taken_over(stage):
    user = USER.resource(name=stage.testbed.connection["user"]) | {"adopt": True}
    assert "This is the user that works here itself" in stage.play(replaced=[user]).of(user)["message"]


def refused_alike(stage, resource, **play):
    """What is said when it is refused, in check mode and else the same; nothing of it is there."""
    predicted, applied = stage.play(**play, check=True), stage.play(**play)
    assert predicted.failed == applied.failed == [resource["path"]]
    assert applied.of(resource)["message"] == predicted.of(resource)["message"]
    assert stage.read(resource) == predicted.of(resource)["before"]
    return applied.of(resource)["message"]


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (USER, {"permissions": [{"vhost": "nowhere"}]}, "permissions: there is no virtual host nowhere; "),
        (USER, {"permissions": [{"vhost": "conformance", "write": "^a**"}]}, "permissions.write: ^a** is no regular"),
        (POLICY, {"vhost": "nowhere"}, "vhost: there is no virtual host nowhere; "),
        (POLICY, {"pattern": "^a**"}, "pattern: ^a** is no regular expression for RabbitMQ: multiple repeat."),
        (POLICY, {"pattern": "(?<x>a)"}, "pattern: (?<x>a) is no regular expression for RabbitMQ: it may hold"),
        (QUEUE, {"vhost": "nowhere"}, "vhost: there is no virtual host nowhere; "),
        (QUEUE, {"bindings": [{"exchange": "nowhere"}]}, "bindings: there is no exchange nowhere in the virtual host"),
    ],
)
def test_what_is_not_there_is_refused_in_check_mode_as_when_it_is_applied(stage, kind, fields, said):
    resource = kind.resource(**fields)
    resource = kind.changed(resource)
    assert refused_alike(stage, resource, replaced=[resource]).startswith(said)


def test_check_mode_reckons_with_virtual_hosts_that_come_in_the_same_work(stage):
    vhost = VHOST.resource(max_queues=1)
    where = vhost["spec"]["name"]
    bindings = [{"exchange": "amq.fanout"}]
    queues = [QUEUE.changed(QUEUE.resource(vhost=where, bindings=bindings)) for _ in range(2)]
    user = USER.changed(USER.resource(permissions=[{"vhost": where}]))
    everything = [vhost, *queues, POLICY.resource(vhost=where), user]
    predicted, applied = stage.play(replaced=everything, check=True), stage.play(replaced=everything)
    assert predicted.failed == applied.failed == [queues[1]["path"]]
    for resource in everything:
        assert applied.of(resource) == predicted.of(resource)
    assert "may have 1 queues and has no room for another" in applied.of(queues[1])["message"]
    stage.play(deleted=everything)


def test_a_virtual_host_that_does_not_come_is_not_reckoned_with(stage):
    vhost = VHOST.resource(name="x" * 300)
    policy = POLICY.resource(vhost=vhost["spec"]["name"])
    predicted, applied = (stage.play(replaced=[vhost, policy], check=check) for check in (True, False))
    assert predicted.failed == applied.failed == [vhost["path"], policy["path"]]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"durable": False}, "It is not durable, for which there is no field"),
        ({"durable": True, "auto_delete": True}, "It is deleted when its last reader goes, "),
        ({"durable": True, "arguments": {"x-message-ttl": 9, "x-max-length": 1}}, "with x-max-length, x-message-ttl, "),
    ],
)
def test_a_queue_that_was_made_otherwise_than_we_would_is_not_taken_over(stage, made, said):
    queue = QUEUE.resource(bindings=[]) | {"adopt": True}
    stage.module._ask(stage.testbed, "PUT", *stage.module._place("RabbitQueue", queue["spec"]), body=made)
    message = refused_alike(stage, queue, replaced=[queue])
    assert said in message
    assert message.endswith("RabbitMQ cannot change; make a new queue.")


def test_a_binding_with_arguments_is_named_and_taken_back(stage):
    queue = QUEUE.resource(bindings=[{"exchange": "amq.headers", "routing_key": "a"}])
    stage.play(replaced=[queue])
    place = ("bindings", "conformance", "e", "amq.headers", "q", queue["spec"]["name"])
    stage.module._ask(stage.testbed, "POST", *place, body={"routing_key": "a", "arguments": {"x-match": "any", "b": 1}})
    event = stage.play(replaced=[queue]).of(queue)
    assert event["reasons"] == ["it was bound to amq.headers with arguments on the broker"]
    assert stage.play(replaced=[queue]).changed == []
    assert [row["arguments"] for row in stage.module._ask(stage.testbed, "GET", *place)[1]] == [{}]


def test_a_user_carries_its_document_as_a_tag_which_is_no_role(stage):
    user = USER.resource(role="none")
    place = ("users", user["spec"]["name"])
    stage.play(replaced=[user])
    assert stage.module._ask(stage.testbed, "GET", *place)[1]["tags"] == [f"mergeyard:{user['path']}"]
    [listed] = [one for one in stage.play(book="discover").gathered("RabbitUser") if one["spec"]["name"] == place[1]]
    assert (listed["marker"], listed["spec"]["role"]) == (user["path"], "none")

    stage.module._ask(stage.testbed, "PUT", *place, body={"password": "theirs", "tags": ""})
    assert "'adopt: true'" in refused_alike(stage, user, replaced=[user])
    assert "no longer carries the mark" in refused_alike(stage, user, deleted=[user])


def test_an_administrator_is_not_taken_over_and_what_is_ours_does_not_stay_one(stage):
    user, ours = USER.resource() | {"adopt": True}, USER.resource()
    stage.play(replaced=[ours])
    for one, tags in ((user, "administrator"), (ours, f"administrator,mergeyard:{ours['path']}")):
        body = {"password": "x", "tags": tags}
        stage.module._ask(stage.testbed, "PUT", "users", one["spec"]["name"], body=body)
    assert "It is an administrator" in refused_alike(stage, user, replaced=[user])
    assert stage.play(replaced=[ours]).of(ours)["after"]["role"] == "monitoring"
    assert stage.read(ours)["role"] == "monitoring"


def requests(stage, method):
    """How many the broker has heard so far, as its own log says."""
    return sum(file.read_text().count(f'"{method} /api/') for file in stage.testbed.extra["requests"].iterdir())


def test_what_is_there_is_read_once_however_much_of_it_changes(stage):
    users, queues = [USER.resource() for _ in range(20)], [QUEUE.resource() for _ in range(20)]
    policies = [POLICY.resource() for _ in range(20)]
    stage.play(replaced=[*users, *queues, *policies])
    changed = [USER.changed(user, role="none") for user in users]
    changed += [QUEUE.changed(queue, bindings=[]) for queue in queues]
    changed += [POLICY.changed(policy, priority=5) for policy in policies]
    before = requests(stage, "GET")
    assert len(stage.play(replaced=changed).changed) == len(changed)
    assert 0 < requests(stage, "GET") - before < 20


@pytest.mark.parametrize(
    ("status", "content", "sentence"),
    [
        (400, b'{"reason": ["invalid_regexp", [94, 97], [[110, 111], 3]]}', "this is no regular expression: ^a: no."),
        (400, b'{"reason": "vhost_or_user_not_found"}', "there is no such virtual host or no such user."),
        (404, b'{"error": "not_found", "reason": "vhost_not_found"}', "there is no such virtual host."),
        (401, b'{"reason": "Not authorised"}', "Not authorised."),
        (500, b"", "Internal Server Error."),
        (502, b"[1]", "Bad Gateway."),
    ],
)
def test_what_the_broker_answers_becomes_a_sentence(status, content, sentence):
    spec = spec_from_file_location("rabbit", PLAYBOOKS / "rabbitmq" / "plugins" / "module_utils" / "rabbit.py")
    rabbit = module_from_spec(spec)
    spec.loader.exec_module(rabbit)
    assert rabbit.said(status, content) == sentence


ALL = {"vhost": "orders", "configure": ".*", "write": "^.+", "read": "a|^"}
OWN = {"vhost": "orders", "configure": "^$", "write": "^orders", "read": "orders.*"}


@pytest.mark.parametrize(
    ("kind", "before", "after", "said"),
    [
        (VHOST, {}, {"max_queues": 1}, "New queues may be refused"),
        (VHOST, {"max_connections": 5}, {"max_connections": 1}, "Applications may be refused"),
        (USER, None, {"permissions": [ALL]}, "make and delete every queue"),
        (USER, None, {"permissions": [ALL]}, "write to every queue"),
        (USER, {"permissions": [OWN]}, {"permissions": [OWN | {"read": ".*"}]}, "read from every queue"),
        (USER, None, {"role": "policymaker"}, "may set policies"),
        (POLICY, None, {"pattern": ".*", "max_length": 1}, "follow it at once"),
        (POLICY, None, {"pattern": ".*", "max_length": 1}, "every queue of the virtual host"),
        (POLICY, {"priority": 1}, {"priority": 1, "max_length": 1}, "beyond that are dropped"),
        (POLICY, {"priority": 1}, {"priority": 1, "message_ttl_seconds": 1}, "older than that are dropped"),
        (POLICY, {"priority": 1}, {"priority": 1, "expires_seconds": 60}, "are deleted with their messages"),
        (POLICY, {"priority": 1}, {"priority": 2}, "another one than before"),
        (POLICY, {"dead_letter_exchange": "amq.fanout"}, {"max_length": 1}, "or nowhere"),
    ],
)
def test_what_is_risky_is_told_in_the_plan(kind, before, after, said):
    common = {"vhost": "orders", "pattern": "^orders"} if kind is POLICY else {}
    assert said in told(kind, None if before is None else common | before, common | after)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (VHOST, {"max_queues": 100}, {"max_connections": -1}),
        (USER, None, {"permissions": [OWN]}),
        (POLICY, {"max_length": 5, "expires_seconds": 60}, {"max_length": 6}),
    ],
)
def test_more_than_before_is_no_risk(kind, before, after):
    common = {"vhost": "orders", "pattern": "^orders"} if kind is POLICY else {}
    assert told(kind, None if before is None else common | before, common | after) == ""
