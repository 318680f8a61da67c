"""What only RabbitMQ has: messages that arrive or not, by what users, bindings and policies say."""

import pytest

from tests.systems.catalogue import Kind

pytestmark = [pytest.mark.systems]
VHOST, USER, POLICY, QUEUE = (Kind("rabbitmq", f"Rabbit{name}") for name in ("Vhost", "User", "Policy", "Queue"))


@pytest.fixture
def stage(stages):
    stage = stages("rabbitmq")
    stage.prepare(QUEUE)
    return stage


def publish(stage, key, *, exchange="amq.topic"):
    body = {"properties": {}, "routing_key": key, "payload": "hello", "payload_encoding": "string"}
    place = ("exchanges", "conformance", exchange, "publish")
    return stage.module._ask(stage.testbed, "POST", *place, body=body)[1]["routed"]


def test_a_binding_brings_the_messages_it_names_and_no_others(stage):
    queue = QUEUE.resource(bindings=[{"exchange": "amq.topic", "routing_key": "invoices.*"}])
    stage.play(replaced=[queue])
    assert publish(stage, "invoices.paid")
    assert not publish(stage, "parcels.sent")
    stage.play(replaced=[QUEUE.changed(queue, bindings=[])])
    assert not publish(stage, "invoices.paid")
    stage.play(deleted=[queue])


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


def test_the_user_that_works_here_is_never_taken_over(stage):
    user = USER.resource(name=stage.testbed.connection["user"]) | {"adopt": True}
    assert "This is the user that works here itself" in stage.play(replaced=[user]).of(user)["message"]
