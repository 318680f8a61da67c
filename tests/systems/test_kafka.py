"""What only Kafka has: partitions that never shrink, topics without a marker, settings nobody here knows."""

import pytest

from tests.systems.catalogue import Kind

pytestmark = [pytest.mark.systems]
TOPIC = Kind("kafka", "KafkaTopic")


@pytest.fixture
def stage(stages):
    return stages("kafka")


@pytest.fixture
def client(stage):
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": stage.testbed.connection["bootstrap_servers"]})


def test_partitions_and_copies_cannot_be_taken_away_and_the_preview_says_so(stage):
    topic = TOPIC.resource()
    other = TOPIC.resource()
    stage.play(replaced=[topic, other])
    fewer, copied = TOPIC.changed(topic, partitions=1), TOPIC.changed(other, replication=2)
    for check in (True, False):
        played = stage.play(replaced=[fewer, copied], check=check)
        message = "The topic has 3 partitions, and Kafka cannot take any away; write 3 or more."
        assert played.of(fewer)["message"] == message
        assert "copies of each message" in played.of(copied)["message"]
    assert stage.read(topic)["partitions"] == 3


def test_when_partitions_cannot_be_added_the_brokers_reason_is_given_and_nothing_else_changes(stage):
    topic, other = TOPIC.resource(), TOPIC.resource()
    stage.play(replaced=[topic, other])
    more = TOPIC.changed(topic, partitions=6, retention_hours=1)
    changed = TOPIC.changed(other, retention_hours=1)
    played = stage.play(replaced=[more, changed])
    assert played.changed == [changed["path"]]
    assert "Partitions cannot be added" in played.of(more)["message"]
    assert stage.read(topic)["retention_hours"] == 72


def test_a_setting_that_no_field_stands_for_is_found_named_and_taken_back(stage, client):
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    topic = TOPIC.resource()
    stage.play(replaced=[topic])
    entry = ConfigEntry("unclean.leader.election.enable", "true", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic["spec"]["name"], incremental_configs=[entry])
    [done] = client.incremental_alter_configs([resource]).values()
    done.result(10)
    event = stage.play(replaced=[topic]).of(topic)
    assert event["reasons"] == ["unclean.leader.election.enable was set to true on Kafka"]
    assert stage.play(replaced=[topic]).changed == []


def test_a_thousand_topics_go_in_one_play(stage):
    topics = [TOPIC.resource() for _ in range(1000)]
    assert len(stage.play(replaced=topics).changed) == 1000
    again = stage.play(replaced=topics, check=True)
    assert (len(again.resources), again.changed) == (1000, [])
    assert len(stage.play(deleted=topics).changed) == 1000
