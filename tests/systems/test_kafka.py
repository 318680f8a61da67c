"""What only Kafka has: partitions that never shrink, rights that really deny, quotas, users who sign in."""

import subprocess
from types import SimpleNamespace

import ansible.module_utils
import pytest

from playbooks.kafka import apache, outside
from tests.changes.trees import tree
from tests.systems.catalogue import PLAYBOOKS, Kind
from tests.systems.test_documents import CATALOG, document, path, planned, system

ansible.module_utils.__path__ += [str(PLAYBOOKS / folder / "plugins" / "module_utils") for folder in (".", "kafka")]

from ansible.module_utils.kafka_broker import said  # noqa: E402
from ansible.module_utils.kafka_topic_spec import copies_of  # noqa: E402
from ansible.module_utils.mergeyard.pairing import Unsure  # noqa: E402

pytestmark = [pytest.mark.systems]
TOPIC, USER, ACL, QUOTA = (Kind("kafka", name) for name in ("KafkaTopic", "KafkaUser", "KafkaAcl", "KafkaQuota"))
PASSWORD = USER.example.secrets["password"]


@pytest.fixture
def stage(stages):
    return stages("kafka")


@pytest.fixture
def embedded(stages):
    return stages("kafka", "embedded")


@pytest.fixture
def client(stage):
    return outside.client(stage.testbed)


@pytest.fixture
def connected(stage, monkeypatch):
    """The same cluster by another connection."""

    def connect(**connection):
        monkeypatch.setattr(stage.testbed, "connection", connection)
        return stage

    return connect


def of(user, **rights):
    entries = {name: [{"operations": ["read"], **entry} for entry in listed] for name, listed in rights.items()}
    return ACL.at(user, {"user": user, **entries})


def test_partitions_and_copies_cannot_be_taken_away_and_the_preview_says_so(stage):
    topic, other = TOPIC.resource(), TOPIC.resource()
    stage.play(replaced=[topic, other])
    fewer, copied = TOPIC.changed(topic, partitions=1), TOPIC.changed(other, replication=2)
    for check in (True, False):
        played = stage.play(replaced=[fewer, copied], check=check)
        message = "The topic has 2 partitions, and Kafka cannot take any away; write 2 or more."
        assert played.of(fewer)["message"] == message
        assert "copies of each message" in played.of(copied)["message"]
    assert stage.read(topic)["partitions"] == 2


def test_when_partitions_cannot_be_added_the_brokers_reason_is_given_and_nothing_else_changes(embedded):
    topic, other = TOPIC.resource(), TOPIC.resource()
    embedded.play(replaced=[topic, other])
    more = TOPIC.changed(topic, partitions=6, retention_hours=1)
    changed = TOPIC.changed(other, retention_hours=1)
    for check in (True, False):
        played = embedded.play(replaced=[more, changed], check=check)
        assert played.changed == [changed["path"]]
        assert "Partitions cannot be added" in played.of(more)["message"]
    assert embedded.read(topic)["retention_hours"] == 72


def test_check_mode_makes_and_changes_nothing_on_a_broker_that_does_at_once_what_it_is_asked_to_try(embedded):
    topic, new = TOPIC.resource(), TOPIC.resource()
    embedded.play(replaced=[topic])
    changed = TOPIC.changed(topic, retention_hours=1, settings={"compression.type": "lz4"})
    assert len(embedded.play(replaced=[changed, new], check=True).changed) == 2
    assert embedded.read(topic)["retention_hours"] == 72
    assert embedded.read(new) is None


BAD_SETTINGS = [{"retention.bytes": "lots"}, {"compression.type": "foo"}, {"segment.ms": "0"}]


def test_what_kafka_would_refuse_is_known_in_the_preview_and_nothing_is_half_done(stage):
    there, new = TOPIC.resource(), [TOPIC.resource(settings=settings) for settings in BAD_SETTINGS]
    stage.play(replaced=[there])
    before = stage.read(there)
    more = TOPIC.changed(there, partitions=5, retention_hours=1, settings=BAD_SETTINGS[1])
    fine = TOPIC.resource()
    predicted = stage.play(replaced=[more, *new, fine], check=True)
    applied = stage.play(replaced=[more, *new, fine])
    assert applied.changed == [fine["path"]]
    for topic, [(name, value)] in zip([more, *new], map(dict.items, [BAD_SETTINGS[1], *BAD_SETTINGS]), strict=True):
        assert applied.of(topic) == predicted.of(topic)
        assert f"Invalid value {value} for configuration {name}" in applied.of(topic)["message"]
    assert stage.read(there) == before
    assert [stage.read(topic) for topic in new] == [None] * len(new)


@pytest.mark.parametrize("key", ["retention.ms", "x\n evil", "compression.type\x00evil", "{{ 7 * 7 }}"])
@pytest.mark.parametrize("field", ["settings", "compaction"])
def test_settings_that_no_field_stands_for_are_refused_by_name(stage, field, key):
    topic = TOPIC.resource(**{field: {key: "1"}})
    for check in (True, False):
        message = stage.play(replaced=[topic], check=check).of(topic)["message"]
        assert message.startswith(f"{field}: there is no field ")
        assert "\n" not in message
    assert stage.read(topic) is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        *((TOPIC, {"settings": settings}) for settings in BAD_SETTINGS),
        (TOPIC, {"settings": {"min.insync.replicas": "0"}}),
        (TOPIC, {"settings": {"message.timestamp.type": "now"}}),
        *((ACL, {"groups": [{"group": "g", "operations": ["read"], "host": host}]}) for host in ("999.1.1.1", "::::")),
        (ACL, {"topics": [{"topic": "t", "operations": ["read"], "host": "1:2:3:4:5:6:7:8:9"}]}),
    ],
)
def test_the_form_knows_the_bounds_of_kafka(kind, fields):
    import jsonschema_rs

    assert jsonschema_rs.is_valid(kind.schema, kind.resource()["spec"])
    assert not jsonschema_rs.is_valid(kind.schema, kind.resource(**fields)["spec"])


def test_every_setting_that_the_form_takes_is_one_that_kafka_takes(stage):
    settings = {"compression.type": "zstd", "message.timestamp.type": "LogAppendTime", "min.insync.replicas": "1"}
    least = TOPIC.resource(settings={**settings, "retention.bytes": "-1", "segment.ms": "1"})
    most = TOPIC.resource(settings={**settings, "retention.bytes": "9" * 18, "segment.ms": "9" * 18})
    assert stage.play(replaced=[least, most]).failed == []
    assert [stage.play(replaced=[least, most]).changed, TOPIC.schema["additionalProperties"]] == [[], False]


def test_a_limit_that_kafka_cannot_hold_is_refused_in_the_preview_already(stage):
    quota = QUOTA.resource(write_kib_per_second=10**20)
    predicted = stage.play(replaced=[quota], check=True).of(quota)
    assert predicted["message"].startswith("Kafka refused it: ")
    assert stage.play(replaced=[quota]).of(quota) == predicted


def test_a_setting_that_no_field_stands_for_is_found_named_and_taken_back(stage, client):
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    topic = TOPIC.resource()
    stage.play(replaced=[topic])
    rate = {f"{role}.replication.throttled.replicas": "0:1" for role in ("leader", "follower")}  # of a move elsewhere
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in {"unclean.leader.election.enable": "true", **rate}.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic["spec"]["name"], incremental_configs=entries)
    outside.done(client.incremental_alter_configs([resource]))
    event = stage.play(replaced=[topic]).of(topic)
    assert event["reasons"] == ["unclean.leader.election.enable was set to true on Kafka"]
    assert stage.play(replaced=[topic]).changed == []
    [described] = client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic["spec"]["name"])]).values()
    assert {name: described.result(10)[name].value for name in rate} == rate


def test_a_topic_whose_partitions_are_moved_to_other_brokers_keeps_its_number_of_copies():
    moving = {number: SimpleNamespace(replicas=[1, 2, 3, 4][:held]) for number, held in enumerate((4, 3, 3))}
    assert copies_of(moving) == 3


FOREVER = {"retention.ms": "-1"}
COMPACTED = {"cleanup_policy": "compact"}
THEIRS = [  # how others set a topic, what a document says of it, what it is to say instead (None: it is taken over)
    (FOREVER | {"cleanup.policy": "compact"}, {}, "cleanup_policy: ", "write compact now"),
    (FOREVER, {}, "retention_hours: ", "write 87600 now"),
    ({"retention.ms": "360000001"}, {"retention_hours": 100}, "retention_hours: ", "write 101 now"),
    ({"retention.bytes": "5000000"}, {}, "settings.retention.bytes: ", "write 5000000 now"),
    ({}, {"settings": {"retention.bytes": "5000000"}}, "settings.retention.bytes: ", "leave it out now"),
    (
        {"cleanup.policy": "compact", "min.compaction.lag.ms": "18000000"},
        COMPACTED | {"compaction": {"keep_hours": 4}},
        "compaction.keep_hours: ",
        "write 5 now",
    ),
    (FOREVER | {"cleanup.policy": "compact"}, COMPACTED, None, None),
    (FOREVER, {"retention_hours": 87_600, "settings": {"retention.bytes": "-1"}}, None, None),
]


def test_a_topic_that_keeps_more_than_its_document_says_is_not_taken_over_by_it(stage, client):
    from confluent_kafka.admin import NewTopic

    topics = [{**TOPIC.resource(shape={"partitions": 1}, **fields), "adopt": True} for _, fields, _, _ in THEIRS]
    names = [topic["spec"]["name"] for topic in topics]
    new = [NewTopic(name, 1, 1, config=theirs) for name, (theirs, *_) in zip(names, THEIRS, strict=True)]
    outside.done(client.create_topics(new))
    before = [stage.read(topic) for topic in topics]
    predicted, applied = stage.play(replaced=topics, check=True), stage.play(replaced=topics)
    for topic, was, (_, _, field, instead) in zip(topics, before, THEIRS, strict=True):
        event = applied.of(topic)
        assert event == predicted.of(topic)
        assert (event["status"], event["changed"]) == (("failed", False) if field else ("ok", True))
        if field:
            assert event["message"].startswith(f"{field}the topic keeps more than this would")
            assert instead in event["message"]
            assert stage.read(topic) == was


@pytest.mark.parametrize(("kind", "server"), [(TOPIC, "embedded"), (ACL, ""), (QUOTA, "")], ids=repr)
def test_a_thousand_go_in_one_play(stages, kind, server):
    stage, resources = stages("kafka", server), [kind.resource() for _ in range(1000)]
    assert len(stage.play(replaced=resources).changed) == 1000
    again = stage.play(replaced=resources, check=True)
    assert (len(again.resources), again.changed) == (1000, [])
    assert len(stage.play(deleted=resources).changed) == 1000


def written(stage, user, topic):
    """What comes of a message that the user writes: None, or the broker's word for why not."""
    from confluent_kafka import KafkaException, Producer

    came = []
    mechanism = USER.example.spec["mechanism"]
    producer = Producer(outside.user_settings(stage.testbed, user, PASSWORD, mechanism) | {"message.timeout.ms": 9000})
    try:
        producer.list_topics(topic, timeout=10)
        producer.produce(
            topic, b"x", key=b"x", on_delivery=lambda error, _: came.append(error.name() if error else None)
        )
    except KafkaException as error:
        return error.args[0].name()
    producer.flush(10)
    return came[0]


def test_a_user_may_write_what_its_document_allows_and_nothing_else(stage):
    topic, other, user = TOPIC.resource(partitions=1), TOPIC.resource(partitions=1), USER.resource()
    name, topics = user["spec"]["name"], [topic["spec"]["name"], other["spec"]["name"]]
    right = of(name, topics=[{"topic": topics[0], "operations": ["write"]}])
    assert stage.play(replaced=[topic, other, user, right]).failed == []
    assert [written(stage, name, one) for one in topics] == [None, "TOPIC_AUTHORIZATION_FAILED"]

    denied = of(name, topics=right["spec"]["topics"], topic_prefixes=[{"prefix": topics[0], "permission": "deny"}])
    denied["spec"]["topic_prefixes"][0]["operations"] = ["write"]
    assert stage.play(replaced=[denied]).of(denied)["changed"]
    assert written(stage, name, topics[0]) == "TOPIC_AUTHORIZATION_FAILED"

    assert stage.play(replaced=[right]).of(right)["changed"]
    assert written(stage, name, topics[0]) is None
    assert stage.play(deleted=[right]).of(right)["after"] is None
    assert written(stage, name, topics[0]) == "TOPIC_AUTHORIZATION_FAILED"


def test_rights_that_no_field_stands_for_are_named_and_taken_back_and_other_users_keep_theirs(stage, client):
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    right = of("stray", topics=[{"topic": "orders"}])
    beside = of("stray-not", groups=[{"group": "orders"}])
    stage.play(replaced=[right, beside])
    way = ResourcePatternType.LITERAL, "User:stray", "*", AclOperation.ALTER, AclPermissionType.ALLOW
    outside.done(client.create_acls([AclBinding(ResourceType.BROKER, "kafka-cluster", *way)]))
    event = stage.play(replaced=[right]).of(right)
    assert event["reasons"] == ["alter on the cluster was given to it on Kafka"]
    assert stage.play(replaced=[right]).changed == []
    stage.play(deleted=[right])
    assert stage.read(right) is None
    assert stage.read(beside) is not None


def test_addresses_of_both_families_are_written_as_kafka_compares_them(stage):
    hosts = ["10.0.0.7", "2001:db8::7"]
    right = of("from-where", topics=[{"topic": "orders", "host": host} for host in hosts])
    stage.play(replaced=[right])
    assert [entry["host"] for entry in stage.read(right)["topics"]] == ["10.0.0.7", "2001:db8:0:0:0:0:0:7"]
    assert stage.play(replaced=[right]).changed == []
    wrong = of("from-nowhere", topics=[{"topic": "orders", "host": "999.1.1.1"}])
    assert "is no address" in stage.play(replaced=[wrong], check=True).of(wrong)["message"]


@pytest.mark.parametrize(
    ("user", "client_id", "entity"),
    [
        ("reports", "*", "user-principal 'reports'"),
        ("*", "batch", "client-id 'batch'"),
        ("reports", "batch", "user-principal 'reports', client-id 'batch'"),
        ("*", "*", "the default user-principal"),
    ],
)
def test_a_quota_is_what_kafkas_own_tool_says_it_is(stage, user, client_id, entity):
    spec = {"user": user, "client_id": client_id, "write_kib_per_second": 100, "request_percent": 50}
    quota = QUOTA.at("tool", spec)
    assert stage.play(replaced=[quota]).failed == []
    names = {"user": "users", "client_id": "clients"}
    asked = [part for field, kind in names.items() for part in entity_arguments(kind, spec[field], spec)]
    way = ["--bootstrap-server", stage.testbed.extra["plain"], "--describe"]
    done = subprocess.run(apache.command("kafka.admin.ConfigCommand", *way, *asked), capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"Quota configs for {entity} are ")]
    assert len(lines) == 1, done.stdout + done.stderr
    assert "producer_byte_rate=102400.0" in lines[0]
    assert "request_percentage=50.0" in lines[0]
    stage.play(deleted=[quota])
    assert stage.read(quota) is None


def entity_arguments(kind, name, spec):
    if name != "*":
        return ["--entity-type", kind, "--entity-name", name]
    everyone = kind == "users" and spec["client_id"] == "*"
    return ["--entity-type", kind, "--entity-default"] if everyone else []


def test_a_producer_above_its_quota_is_slowed_down(stage):
    """Told by the broker with each answer, so that nobody has to wait for it."""
    from confluent_kafka import Producer

    topic = TOPIC.resource(partitions=1)
    quota = QUOTA.at("slow", {"user": "*", "client_id": "slow", "write_kib_per_second": 10})
    stage.play(replaced=[topic, quota])
    delays = []
    settings = {"bootstrap.servers": stage.testbed.extra["plain"], "client.id": "slow"}
    producer = Producer(settings | {"throttle_cb": lambda event: delays.append(event.throttle_time)})
    producer.produce(topic["spec"]["name"], b"x" * 200_000)
    assert producer.flush(10) == 0
    producer.poll(1)
    assert max(delays, default=0) > 0
    stage.play(deleted=[quota])


def test_a_user_of_a_cluster_where_nobody_signs_in_is_refused_in_a_sentence(stage, connected):
    user, right = USER.resource(), of("plain-way", topics=[{"topic": "orders"}])
    played = connected(bootstrap_servers=stage.testbed.extra["plain"]).play(replaced=[user, right])
    assert (played.failed, played.changed) == ([user["path"]], [right["path"]])
    assert "add sign_in_servers" in played.of(user)["message"]
    assert stage.play(book="discover").gathered("KafkaUser") == []


def test_a_password_is_verified_where_users_sign_in_if_that_is_another_listener(stage, connected):
    plain, scram = stage.testbed.extra["plain"], stage.testbed.extra["scram"]
    connected(bootstrap_servers=plain, sign_in_servers=scram, sign_in_protocol="SASL_PLAINTEXT")
    user = USER.resource()
    assert stage.play(replaced=[user]).changed == [user["path"]]
    assert stage.play(replaced=[user]).changed == []
    event = stage.play(replaced=[user], secrets={"password": "other"}, check=True).of(user)
    assert event["reasons"] == ["the password on the system is not the one that is kept for it"]
    stage.play(deleted=[user])


def test_who_mergeyard_signs_in_as_is_neither_listed_nor_taken_for_a_document(stage):
    own = [USER.at("own", {"name": "mergeyard"}), ACL.resource(user="mergeyard"), QUOTA.resource(user="mergeyard")]
    outside.KINDS["KafkaAcl"].make(stage.testbed, own[1]["spec"])
    listing = stage.play(book="discover")
    assert "mergeyard" not in [item["spec"]["name"] for item in listing.gathered("KafkaUser")]
    assert "mergeyard" not in [item["spec"]["user"] for item in listing.gathered("KafkaAcl")]
    for check in (True, False):
        played = stage.play(replaced=[{**one, "adopt": True} for one in own], check=check)
        assert ["Mergeyard itself signs in" in played.of(one)["message"] for one in own] == [True] * 3
    outside.KINDS["KafkaAcl"].remove(stage.testbed, own[1]["spec"])


def test_what_mergeyards_user_may_not_change_is_known_in_check_mode(stage, client, monkeypatch):
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    there, new = ([kind.resource() for kind in (USER, TOPIC, ACL, QUOTA)] for _ in range(2))
    stage.play(replaced=there)
    outside.Users.set_password(stage.testbed, "weak", "weak", mechanism=2)
    looks = [AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS]
    on = [(ResourceType.BROKER, "kafka-cluster"), (ResourceType.TOPIC, "*")]
    way = ResourcePatternType.LITERAL, "User:weak", "*"
    outside.done(
        client.create_acls([AclBinding(*each, *way, look, AclPermissionType.ALLOW) for each in on for look in looks])
    )
    monkeypatch.setattr(stage.testbed, "connection", {**stage.testbed.connection, "sasl_username": "weak"})
    monkeypatch.setattr(stage.testbed, "secrets", {"sasl_password": "weak"})
    assert stage.play(replaced=there, check=True).failed == []
    predicted, applied = stage.play(replaced=new, check=True), stage.play(replaced=new)
    assert len(applied.failed) == len(new)
    for resource in new:
        assert applied.of(resource) == predicted.of(resource)
        assert len(applied.of(resource)["message"]) < 90
    predicted, applied = stage.play(deleted=there, check=True), stage.play(deleted=there)
    assert len(applied.failed) == len(there)
    for resource in there:
        assert applied.of(resource) == predicted.of(resource)


def test_a_wrong_password_of_the_system_is_said_at_once(stage, monkeypatch):
    monkeypatch.setattr(stage.testbed, "secrets", {"sasl_password": "wrong"})
    resources = [kind.resource() for kind in (USER, TOPIC, ACL, QUOTA)]
    played = stage.play(replaced=resources)
    messages = {played.of(resource)["message"] for resource in resources}
    [message] = messages
    assert message.endswith("does not let mergeyard in with the password that is kept for it.")


def test_what_the_embedded_broker_lacks_is_refused_in_a_sentence_and_the_rest_goes_on(embedded):
    lacking, topic = [kind.resource() for kind in (USER, ACL, QUOTA)], TOPIC.resource()
    played = embedded.play(replaced=[*lacking, topic])
    assert sorted(played.failed) == sorted(resource["path"] for resource in lacking)
    assert played.changed == [topic["path"]]
    told = [played.of(resource)["message"] for resource in lacking]
    assert [message.endswith(".") and "\n" not in message for message in told] == [True] * 3
    assert "has no access rights" in told[1]
    assert "has no quotas" in told[2]
    listed = embedded.play(book="discover")
    assert listed.code == 0
    assert [listed.gathered(kind.name) for kind in (USER, ACL, QUOTA)] == [[], [], []]
    embedded.play(deleted=[topic])


def told(kind, before, after):
    """What the plan says is risky about a change; None: there is no document before."""
    there = {path(kind, "one"): document(kind, before)} if before is not None else {}
    plan, _ = planned(tree({**system(kind, {}), **there}, CATALOG), {path(kind, "one"): document(kind, after)})
    return " ".join(plan.items[0].risks)


TOPIC_READ = {"topic": "orders", "operations": ["read"]}
EVERYTHING = {"prefix": "o", "operations": ["all"]}
READING = {"group": "orders", "operations": ["read"]}


@pytest.mark.parametrize(
    ("kind", "before", "after", "said"),
    [
        (TOPIC, {}, {"settings": {"retention.bytes": "1"}}, "beyond it is lost"),
        (TOPIC, {}, {"max_message_kib": 1}, "larger than this are refused"),
        (TOPIC, {"max_message_kib": 2}, {"max_message_kib": 1}, "larger than this are refused"),
        (TOPIC, {}, {"settings": {"min.insync.replicas": "2"}}, "writing fails"),
        (
            TOPIC,
            {"cleanup_policy": "compact"},
            {"cleanup_policy": "compact", "compaction": {"keep_hours": 0}},
            "sooner",
        ),
        (QUOTA, {"read_kib_per_second": 5}, {"read_kib_per_second": 5, "write_kib_per_second": 1}, "write more"),
        (ACL, None, {"topic_prefixes": [EVERYTHING]}, "made later are covered"),
        (ACL, None, {"topic_prefixes": [EVERYTHING]}, "So short a beginning"),
        (ACL, None, {"topic_prefixes": [EVERYTHING]}, "deleting or changing topics"),
        (ACL, {"topics": [TOPIC_READ]}, {"topics": [TOPIC_READ | {"operations": ["read", "alter"]}]}, "deleting or"),
        (ACL, {"topics": [TOPIC_READ], "groups": [READING]}, {"topics": [TOPIC_READ]}, "are lost at once"),
        (ACL, None, {"groups": [READING | {"match": "prefix"}]}, "Groups that are made later"),
        (ACL, None, {"groups": [READING | {"permission": "deny"}]}, "wins over every right"),
    ],
)
def test_what_is_risky_is_told_in_the_plan(kind, before, after, said):
    common = {"partitions": 3} if kind is TOPIC else {"user": "orders"}
    assert said in told(kind, None if before is None else common | before, common | after)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (TOPIC, {"partitions": 3, "max_message_kib": 1}, {"partitions": 3, "max_message_kib": 2}),
        (QUOTA, {"user": "u", "read_kib_per_second": 5, "request_percent": 5}, {"user": "u", "request_percent": 9}),
        (ACL, None, {"user": "u", "topics": [TOPIC_READ], "groups": [READING]}),
    ],
)
def test_more_than_before_is_no_risk(kind, before, after):
    assert told(kind, before, after) == ""


@pytest.mark.parametrize(
    ("code", "unsure"),
    [(7, True), (13, True), (-1, True), (17, False), (31, False), (44, False)],
    ids=["timed out", "network", "unknown", "invalid topic", "not authorized", "policy"],
)
def test_only_what_kafka_refuses_counts_as_refused_as_what_took_too_long_may_come_yet(code, unsure):
    answer = said(code, "said so")
    assert answer.startswith("Kafka refused it: ")
    assert isinstance(answer, Unsure) == unsure
