# ruff: noqa: E501 - a case of a table is one line
"""Each mistake that a person can make in a form, a YAML file or a push, and what they are told: where, and what to do.

Form, YAML and push end in the same checks of the same files, so the table is over files; the doors themselves are
walked in `tests/portal/test_bad_input.py`.
"""

import re

import pytest

from tests.changes.trees import QUEUE, SYSTEM, blob, queue, tree
from tests.changes.trees import told as everything_told
from tests.test_docs import ids_in_code

R, ORD = queue("refunds"), queue("orders")
ACC = "resources/payments/people/Account/{}.yml"
SUB = "resources/payments/queue-test/Subscription/more.yml"
TEST = "systems/queue-test.yml"


def q(*lines):
    return "kind: Queue\nspec:\n" + "".join(f"  {line}\n" for line in lines)


def acc(*lines):
    return "kind: Account\nspec: {}\n" + "".join(f"{line}\n" for line in lines)


many = {queue(f"q{n}"): QUEUE for n in range(12)}
# Files of the change, files beside the usual tree, who asks; then id, line and field, and the words for each problem.
# fmt: off
YAML = [
    ({R: "kind: Queue\nspec:\n  size: [1\n"}, None, "rita", [('file.yaml.syntax', '4', "This is not valid YAML: did not find expected ',' or ']'. Check the indentation, colons and quotes near this line. Correct the line and check again.")]),
    ({R: "#" * 1_000_001}, None, "rita", [('file.yaml.size', '', 'The file has 1,000,001 bytes, and 1,000,000 are allowed: split it. Put a part of it into a file of its own.')]),
    ({R: "\ufeffkind: Queue\nspec: {size: 1}\n"}, None, "rita", [('file.yaml.encoding', '1', 'The file must be UTF-8 without a byte order mark: save it as plain UTF-8. Save the file as plain UTF-8 and check again.')]),
    ({R: b"kind: Queue\nspec:\n  notes: caf\xe9\n  size: 1\n"}, None, "rita", [('file.yaml.encoding', '3', 'This line is not UTF-8: save the file as UTF-8. Save the file as plain UTF-8 and check again.')]),
    ({R: "kind: Queue\nspec:\n  size: 1\n  notes: a\x07b\n"}, None, "rita", [('file.yaml.control-character', '4', 'There is a control character (U+0007): remove it. Correct the line and check again.')]),
    ({R: "kind: Queue\nspec:\n  size: 1\n  notes: a\u202eb\n"}, None, "rita", [('suspicious.characters', '4', 'There is a character that readers cannot see (U+202E): remove it. Type the line again, without copying it.')]),
    ({R: "# nothing yet\n"}, None, "rita", [('file.yaml.empty', '1', 'The file is empty: write its content or delete it. Write what the file shall say, or delete it.')]),
    ({R: "%YAML 1.2\n---\n" + QUEUE}, None, "rita", [('file.yaml.directive', '1', 'YAML directives (%...) are not allowed: remove them. Correct the line and check again.')]),
    ({R: QUEUE + "---\n" + QUEUE}, None, "rita", [('file.yaml.documents', '4', 'The file holds more than one YAML document: keep one. Correct the line and check again.')]),
    ({R: "kind: Queue\nspec:\n  tags: [" + ("a, " * 100_001) + "]\n"}, None, "rita", [('file.yaml.nodes', '3 spec.tags.99993', 'The file has more than 100,000 values: split it. Put a part of it into a file of its own.')]),
    ({R: "kind: &k Queue\nspec: {size: 1}\n"}, None, "rita", [('file.yaml.alias', '1 kind', 'YAML anchors and aliases (&name, *name) are not allowed: write the value out, or quote it. Correct the line and check again.')]),
    ({R: q("size: !!int 1")}, None, "rita", [('file.yaml.tag', '3 spec.size', 'YAML tags (!name) are not allowed: remove the tag, or quote the value. Correct the line and check again.')]),
    ({R: "kind: Queue\nspec:\n  routes: " + "[" * 31 + "]" * 31 + "\n"}, None, "rita", [('file.yaml.depth', '3 spec.routes.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0', 'The file is nested more than 30 levels deep: make it flatter. Correct the line and check again.')]),
    ({R: q("size: 1", "size: 2")}, None, "rita", [('file.yaml.duplicate-key', '4 spec.size', "The key 'size' is there twice, first in line 3: remove one. Correct the line and check again.")]),
    ({R: "kind: Queue\nspec:\n  <<: {size: 1}\n"}, None, "rita", [('file.yaml.merge-key', '3 spec', 'Merge keys (<<) are not allowed: write the fields out. Correct the line and check again.')]),
    ({R: "kind: Queue\nspec: {size: 1, ? [a] : b}\n"}, None, "rita", [('file.yaml.key', '2 spec', 'A key must be a text, not a list or a mapping. Correct the line and check again.')]),
    ({R: "kind: Queue\nspec: {size: 1, 5: b}\n"}, None, "rita", [('file.yaml.key', '2 spec', "The key '5' is not a text: put it in quotes. Correct the line and check again.")]),
    ({R: q("size: 1", "labels: {__ansible_unsafe: a}")}, None, "rita", [('file.yaml.reserved-key', '4 spec.labels', "Keys that begin with '__ansible' are reserved: rename '__ansible_unsafe'. Correct the line and check again.")]),
    ({R: q("size: .inf")}, None, "rita", [('file.yaml.number', '3 spec.size', '.inf is not a finite number: give a number, or quote it. Correct the line and check again.')]),
    ({R: q("size: 99999999999999999999")}, None, "rita", [('file.yaml.number', '3 spec.size', 'This number does not fit in 64 bits: quote it if it is a text. Correct the line and check again.')]),
]
PATHS = [
    ({"resources/payments/x.yml": QUEUE}, None, "paula", [('file.path.shape', '', "The path 'resources/payments/x.yml' does not have the form resources/<team>/<system>/<Kind>/<name>.yml. Move the file to the path of what it describes.")]),
    ({"resources/Pay/queue-test/Queue/x.yml": QUEUE}, None, "paula", [('file.path.team', '', "'Pay' cannot be the name of a team: use up to 63 lower-case letters, digits, dots and dashes, and begin with a letter or digit. Move the file to the path of what it describes.")]),
    ({"resources/payments/Queue_test/Queue/x.yml": QUEUE}, None, "paula", [('file.path.system', '', "'Queue_test' cannot be the name of a system: use up to 63 lower-case letters, digits, dots and dashes, and begin with a letter or digit. Move the file to the path of what it describes.")]),
    ({"resources/payments/queue-test/queue/x.yml": QUEUE}, None, "paula", [('file.path.kind', '', "'queue' is not a kind: a kind begins with a capital letter and has only letters and digits. Move the file to the path of what it describes.")]),
    ({"resources/payments/queue-test/Queue/My_Queue.yml": QUEUE}, None, "paula", [('file.path.document', '', "'My_Queue' cannot be the name of a document: use up to 63 lower-case letters, digits, dots and dashes, and begin with a letter or digit. Move the file to the path of what it describes.")]),
    ({"documents/orders.yml": QUEUE}, None, "paula", [('file.path.unknown', '', 'This path means nothing here: files are mergeyard.yml, teams/<team>.yml, systems/<system>.yml, policies/<name>.yml and resources/<team>/<system>/<Kind>/<name>.yml. Move the file to the path of what it describes.')]),
    ({"releases/shop.yml": "title: Shop\n"}, None, "paula", [('file.path.releases', '', 'Releases are not supported by this version: remove the file. Take the file out of the request.')]),
]
DOCUMENTS = [
    ({R: "- kind: Queue\n"}, None, "rita", [('file.document.shape', '1', "A document is a mapping of keys: begin it with 'kind:', then 'spec:'. Correct the field and check again.")]),
    ({R: QUEUE + "specs: {}\n"}, None, "rita", [('file.document.unknown-key', '4 specs', "'specs' is not a key of a document; did you mean 'spec'? Correct the field and check again.")]),
    ({R: "spec: {size: 5}\n"}, None, "rita", [('file.document.kind', '1 kind', "The key kind is missing: write 'kind: Queue'. Correct the field and check again.")]),
    ({R: "kind: Topic\nspec: {size: 5}\n"}, None, "rita", [('file.document.kind', '1 kind', "kind is 'Topic', but the path says 'Queue': make both the same. Correct the field and check again.")]),
    ({R: "kind: Queue\n"}, None, "rita", [('file.document.spec', '1 spec', 'The key spec is missing: it holds the fields of the resource. Correct the field and check again.')]),
    ({R: "kind: Queue\nspec: 5\n"}, None, "rita", [('file.document.spec', '2 spec', "spec must be a mapping of fields; write 'spec: {}' if there are none. Correct the field and check again.")]),
    ({R: QUEUE + "depends_on: orders\n"}, None, "rita", [('file.document.depends-on', '4 depends_on', 'depends_on must be a list of <team>/<system>/<Kind>/<name>. Correct the field and check again.')]),
    ({R: QUEUE + "depends_on: [orders]\n"}, None, "rita", [('file.document.depends-on', '4 depends_on.0', "'orders' does not have the form <team>/<system>/<Kind>/<name>. Correct the field and check again.")]),
    ({R: QUEUE + "depends_on:\n  - payments/queue-test/Queue/orders\n  - payments/queue-test/Queue/orders\n"}, None, "rita", [('file.document.depends-on', '6 depends_on.1', 'payments/queue-test/Queue/orders is there twice: remove one of them. Correct the field and check again.')]),
    ({R: QUEUE + "expires: 2026-02-30\n"}, None, "rita", [('file.document.expires', '4 expires', "expires must be a day like 2027-01-31, and '2026-02-30' is not one. Correct the field and check again.")]),
    ({R: QUEUE + "adopt: maybe\n"}, None, "rita", [('file.document.adopt', '4 adopt', 'adopt must be true or false. Correct the field and check again.')]),
    ({R: QUEUE + "secrets: hunter2\n"}, None, "rita", [('file.document.secrets', '4 secrets', "secrets must be a mapping like 'password: file:payments/orders'. Correct the field and check again.")]),
    ({R: QUEUE + "secrets: {Pass: file:payments/x}\n"}, None, "rita", [('file.document.secrets', '4 secrets.Pass', "'Pass' is not the name of a secret: use lower-case letters, digits and underscores. Correct the field and check again.")]),
    ({ACC.format("ann"): acc("secrets:", "  password: {ref: file:payments/x, generate: maybe}")}, None, "rita", [('file.document.secrets', '4 secrets.password.generate', 'generate must be true or false. Correct the field and check again.')]),
    ({ACC.format("ann"): acc("secrets:", "  password: {reference: file:payments/x}")}, None, "rita", [('file.document.secrets', '4 secrets.password.reference', "'reference' is not a key of a secret; known are ref, generate. Correct the field and check again."), ('file.document.secret-reference', '4 secrets.password', 'A secret is a reference like file:payments/orders that says where the value is, never a value. Correct the field and check again.')]),
    ({ACC.format("ann"): acc("secrets:", "  password: hunter2")}, None, "rita", [('file.document.secret-reference', '4 secrets.password', 'A secret is a reference like file:payments/orders that says where the value is, never a value. Correct the field and check again.')]),
]
FIELDS = [
    ({R: q("size: many")}, None, "rita", [('file.schema.type', '3 spec.size', 'Must be a whole number (is "many"). Correct the field and check again.')]),
    ({R: q('size: "5"')}, None, "rita", [('file.schema.type', '3 spec.size', 'Must be a whole number (is "5"); remove the quotes. Correct the field and check again.')]),
    ({R: q("size: 5", "title: 7")}, None, "rita", [('file.schema.type', '4 spec.title', 'Must be a text (is 7); put it in quotes. Correct the field and check again.')]),
    ({R: q("size: 5", "mode: compcat")}, None, "rita", [('file.schema.choice', '4 spec.mode', 'Must be one of "keep", "compact", "drop" (is "compcat"). Did you mean \'compact\'? Correct the field and check again.')]),
    ({R: q("size: 0")}, None, "rita", [('file.schema.minimum', '3 spec.size', 'Must be at least 1 messages (is 0). Correct the field and check again.')]),
    ({R: q("size: 1001")}, None, "rita", [('file.schema.maximum', '3 spec.size', 'Must be at most 1000 messages (is 1001). Correct the field and check again.')]),
    ({R: q("size: 5", "ratio: 0")}, None, "rita", [('file.schema.minimum', '4 spec.ratio', 'Must be more than 0 (is 0). Correct the field and check again.')]),
    ({R: q("size: 5", "ratio: 1")}, None, "rita", [('file.schema.maximum', '4 spec.ratio', 'Must be less than 1 (is 1). Correct the field and check again.')]),
    ({R: q("size: 5", "ratio: 0.3")}, None, "rita", [('file.schema.multiple', '4 spec.ratio', 'Must be a multiple of 0.25 (is 0.3). Correct the field and check again.')]),
    ({R: q("size: 5", 'title: ""')}, None, "rita", [('file.schema.length', '4 spec.title', 'Must not be empty. Correct the field and check again.')]),
    ({R: q("size: 5", "title: a title of more than twenty")}, None, "rita", [('file.schema.length', '4 spec.title', 'Must have at most 20 characters (has 27). Correct the field and check again.')]),
    ({R: q("size: 5", "name: Re-Funds")}, None, "rita", [('file.schema.pattern', '4 spec.name', '"Re-Funds" does not have the form ^[a-z][a-z0-9_]{0,30}$. Correct the field and check again.')]),
    ({R: q("size: 5", "tags: []")}, None, "rita", [('file.schema.items', '4 spec.tags', 'Must have at least 1 entry. Correct the field and check again.')]),
    ({R: q("size: 5", "tags: [a, b, c, d]")}, None, "rita", [('file.schema.items', '4 spec.tags', 'Must have at most 3 entries. Correct the field and check again.')]),
    ({R: q("size: 5", "tags: [a, a]")}, None, "rita", [('file.schema.unique', '4 spec.tags', 'An entry is there twice: remove one of them. Correct the field and check again.')]),
    ({R: q("size: 5", "labels: {a: x, b: y, c: z}")}, None, "rita", [('file.schema.items', '4 spec.labels', 'Must have at most 2 fields. Correct the field and check again.')]),
    ({R: q("size: 5", "labels: {UP: x}")}, None, "rita", [('file.schema.key', '4 spec.labels', 'The key is not allowed: "UP" does not have the form ^[a-z]+$. Correct the field and check again.')]),
    ({R: q("notes: no size")}, None, "rita", [('file.schema.required', '2 spec.size', 'size is required: add it. Correct the field and check again.')]),
    ({R: q("size: 5", "routes:", "  - name: a", "  - weight: 2")}, None, "rita", [('file.schema.required', '6 spec.routes.1.name', 'name is required: add it. Correct the field and check again.')]),
    ({R: q("size: 5", "login: x")}, None, "rita", [('file.schema.required', '2 spec.realm', 'realm is required because of another field that is set: add it. Correct the field and check again.')]),
    ({R: q("size: 5", "mode: compact")}, None, "rita", [('file.schema.required', '2 spec.compaction', 'compaction is required with these values: add it. Correct the field and check again.')]),
    ({R: q("size: 5", "compaction: 5")}, None, "rita", [('file.schema.not-allowed', '4 spec.compaction', 'Is not allowed here: remove it. Correct the field and check again.')]),
    ({R: q("size: 5", "retenton: 5")}, None, "rita", [('file.schema.unknown-field', '4 spec.retenton', "There is no field 'retenton'; did you mean 'retention'? Correct the field and check again.")]),
    ({R: q("size: 5", "limits: {rat: 1}")}, None, "rita", [('file.schema.unknown-field', '4 spec.limits.rat', "There is no field 'rat'; did you mean 'rate'? Correct the field and check again.")]),
    ({R: q("size: 5", "target: here")}, None, "rita", [('file.schema.alternatives', '4 spec.target', 'None of the alternatives fits. "here" is not an IPv4 address like 10.0.0.1. Or: Must be a whole number (is "here"). Correct the field and check again.')]),
    ({R: q("size: 5", 'title: "a\\nb"')}, None, "rita", [('file.schema.one-line', '4 spec.title', 'Must be one line: remove the line break. Correct the field and check again.')]),
]
SENSE = [
    ({R: QUEUE}, None, "sam", [('ownership.team', '', 'sam is not a member of payments, whose document this is. Let a member of payments make this change, or an owner of queue-test.')]),
    ({"resources/paymnts/queue-test/Queue/x.yml": QUEUE}, None, "paula", [('team.unknown', '', "There is no team 'paymnts'; did you mean 'payments'? Correct the path, or ask the platform team for teams/paymnts.yml.")]),
    ({"resources/payments/queue-tset/Queue/x.yml": QUEUE}, None, "rita", [('system.unknown', '', "There is no system 'queue-tset'; did you mean 'queue-test'? Correct the path, or ask the platform team for systems/queue-tset.yml.")]),
    ({"resources/payments/queue-test/Queu/x.yml": "kind: Queu\nspec: {}\n"}, None, "rita", [('kind.unknown', '1 kind', "There is no kind 'Queu'; did you mean 'Queue'? Choose a kind of the catalogue.")]),
    ({"resources/payments/people/Queue/x.yml": QUEUE}, None, "rita", [('kind.not-offered', '1 kind', 'people is of type directory, which does not offer Queue. Choose a system of type queueing, or one of Account.')]),
    ({queue("orders", team="shop"): QUEUE}, None, "sam", [('identity.taken', '2 spec.name', "Queue 'orders' on queue-test is described by payments/queue-test/Queue/orders already. Choose another name, or change that document instead.")]),
    ({SUB: "kind: Subscription\nspec:\n  queue: orders\n  reader: " + "é" * 80 + "\n"}, None, "rita", [('identity.long', '4 spec.reader', 'What names this Subscription is longer than the 500 characters that can be kept; one that is no ASCII counts six or twelve times. Make it shorter.')]),
    ({ORD: q("size: 5", "name: other")}, {"resources/payments/queue-test/Subscription/billing.yml": None}, "rita", [('identity.changed', '4 spec.name', "Queue 'orders' cannot become 'other' in place. Keep the name; or delete this document and add another one with the new name.")]),
    ({SUB: "kind: Subscription\nspec:\n  queue: gone\n"}, None, "rita", [('reference.missing', '3 spec.queue', "Queue 'gone' is not there on queue-test. Add a Queue named 'gone' to this request, or name one that exists.")]),
    ({R: QUEUE + "depends_on: [payments/queue-test/Queue/gone]\n"}, None, "rita", [('reference.missing', '4 depends_on.0', 'depends_on names payments/queue-test/Queue/gone, which does not exist. Add that document to this request, correct the name, or remove the line.')]),
    ({ORD: None}, None, "rita", [('reference.in-use', '', 'payments/queue-test/Queue/orders is still needed by payments/queue-test/Subscription/billing. Change or delete payments/queue-test/Subscription/billing in this request too, or keep this document.')]),
    ({queue("a"): QUEUE + "depends_on: [payments/queue-test/Queue/b]\n", queue("b"): QUEUE + "depends_on: [payments/queue-test/Queue/a]\n"}, None, "rita", [('reference.cycle', '', 'These documents need each other in a circle: payments/queue-test/Queue/a -> payments/queue-test/Queue/b -> payments/queue-test/Queue/a. Remove one of the references or depends_on lines of the circle.')]),
    ({ORD: q("size: 5", "tags: [red]"), R: q("size: 5", "tags: [red]")}, None, "rita", [('exclusive.taken', '4 spec.tags', 'red on queue-test is in payments/queue-test/Queue/refunds already. A tag leads to one queue. Take it out of one of the two.'), ('exclusive.taken', '4 spec.tags', 'red on queue-test is in payments/queue-test/Queue/orders already. A tag leads to one queue. Take it out of one of the two.')]),
    ({ORD: q("size: 5", "mode: drop")}, None, "rita", [('immutable.mode', '4 spec.mode', 'spec.mode cannot be changed once the resource exists. Make a new queue instead.')]),
    ({ORD: q("size: 5", "shards: 1")}, {ORD: q("size: 5", "shards: 2")}, "rita", [('grows.smaller', '4 spec.shards', 'spec.shards cannot go from 2 down to 1. A shard cannot be taken away.')]),
    ({R: q("size: 5", "login: x", "realm: peopel")}, {TEST: SYSTEM.replace("connection: {", "connection: {realms: [people], ")}, "rita", [('choice.not-there', '5 spec.realm', 'peopel is not among the realms of queue-test. Choose one of: people.')]),
    (dict.fromkeys(list(many)[:6]), many, "rita", [('limits.deletes', '', '6 resources of queue-test would be deleted, and its limit is 5. Split the request so that each part stays under the limit.'), ('limits.percent', '', '6 of 14 resources of queue-test (42 %) would change; its limit is 30 %. Split the request so that each part stays under the limit.')]),
    ({p: q("size: 6") for p in list(many)[:5]}, many, "rita", [('limits.percent', '', '5 of 14 resources of queue-test (35 %) would change; its limit is 30 %. Split the request so that each part stays under the limit.')]),
    ({R: QUEUE}, {"teams/payments.yml": "members: [rita]\nquotas: {Queue: 1}\n"}, "rita", [('limits.quota', '', 'payments would have 2 documents of Queue, and its quota is 1. Delete what is no longer needed, or ask the platform team for a higher quota in teams/payments.yml.')]),
    ({ACC.format("ann"): acc("secrets: {password: file:payments/x, pni: file:payments/y}")}, None, "rita", [('secrets.unknown', '3 secrets.pni', "Account has no secret 'pni'; did you mean 'pin'? Remove the line, or correct the name.")]),
    ({ACC.format("ann"): acc("secrets: {password: file:payments/x, pin: {ref: file:payments/y, generate: true}}")}, None, "rita", [('secrets.generate', '3 secrets.pin', "The secret 'pin' cannot be generated. Remove 'generate: true' and put the value where the reference points.")]),
    ({ACC.format("ann"): acc("secrets: {password: {ref: env:MERGEYARD_SECRET_X, generate: true}}")}, {"teams/payments.yml": 'members: [rita]\nsecret_prefixes: ["env:MERGEYARD_SECRET_X"]\n'}, "rita", [('secrets.generate', '3 secrets.password', "env:MERGEYARD_SECRET_X cannot be written to, so nothing can be generated there. Use a file: reference, or remove 'generate: true'.")]),
    ({ACC.format("ann"): acc()}, None, "rita", [('secrets.missing', 'secrets', "The secret 'password' is missing. Add a reference under secrets, like 'password: file:payments/ann-password'.")]),
    ({ACC.format("ann"): acc("secrets: {password: file:shop/x}")}, None, "rita", [('secrets.prefix', '3 secrets.password', 'payments may not use file:shop/x. Use a reference under file:payments/.')]),
    ({"resources/shop/people/Account/ann.yml": acc("secrets: {password: file:shop/x}")}, None, "sam", [('secrets.prefix', '3 secrets.password', 'shop may not use file:shop/x. Ask the platform team for a prefix for your team.')]),
]
DECLARATIONS = [
    ({"mergeyard.yml": "format: 2\nplatform_team: platform\n"}, None, "paula", [('file.declaration.key', '1 format', "format must be 1, the version of the repository's layout. Correct the field and check again."), ('site.platform-team', '', 'Nobody would be left in the platform team (none is declared). Keep mergeyard.yml, and a team file with members for its platform_team.')]),
    ({"mergeyard.yml": "format: 1\ntitle: Test\n"}, None, "paula", [('file.declaration.key', '1 platform_team', 'platform_team is missing: it must be a name of lower-case letters, digits, dots and dashes. Correct the field and check again.'), ('site.platform-team', '', 'Nobody would be left in the platform team (none is declared). Keep mergeyard.yml, and a team file with members for its platform_team.')]),
    ({"teams/payments.yml": "member: [rita]\n"}, None, "paula", [('file.declaration.unknown-key', '1 member', "'member' is not a key here; did you mean 'members'? Correct the field and check again.")]),
    ({"teams/payments.yml": "[rita]\n"}, None, "paula", [('file.declaration.shape', '1', 'This must be a mapping: on each line a key, a colon and its value. Correct the field and check again.')]),
    ({"teams/payments.yml": "members: rita\n"}, None, "paula", [('file.declaration.key', '1 members', 'members must be a list. Correct the field and check again.')]),
    ({"teams/payments.yml": "members: [rita, rita]\n"}, None, "paula", [('file.declaration.key', '1 members.1', "'rita' is there twice: remove one of them. Correct the field and check again.")]),
    ({"teams/payments.yml": "members: ['rita!']\n"}, None, "paula", [('file.declaration.key', '1 members.0', "'rita!' is not a user name: use letters, digits and @ . + - _. Correct the field and check again.")]),
    ({"teams/payments.yml": "title: [x]\nmembers: [rita]\n"}, None, "paula", [('file.declaration.key', '1 title', 'title must be one line of text. Correct the field and check again.')]),
    ({"teams/payments.yml": "members: [rita]\nsecret_prefixes: ['consul:x']\n"}, None, "paula", [('file.declaration.key', '2 secret_prefixes.0', "'consul:x' is not a prefix of references like file:payments/. Correct the field and check again.")]),
    ({"teams/payments.yml": "members: [rita]\nsecret_prefixes: ['file:a/../b/']\n"}, None, "paula", [('file.declaration.key', '2 secret_prefixes.0', "'file:a/../b/' is not a prefix of references like file:payments/. Correct the field and check again.")]),
    ({"teams/payments.yml": "members: [rita]\nquotas: {Queue: many}\n"}, None, "paula", [('file.declaration.key', '2 quotas.Queue', 'The quota of Queue must be a whole number of documents, 0 or more. Correct the field and check again.')]),
    ({"teams/payments.yml": "members: [rita]\nquotas: {queue: 5}\n"}, None, "paula", [('file.declaration.key', '2 quotas.queue', "'queue' is not the name of a kind. Correct the field and check again.")]),
    ({"teams/payments.yml": "members: [rita]\nquotas: {Queu: 5}\n"}, None, "paula", [('kind.unknown', 'quotas.Queu', "There is no kind 'Queu'; did you mean 'Queue'? Correct the name of the kind.")]),
    ({"teams/Pay_ments.yml": "members: [rita]\n"}, None, "paula", [('file.path.name', '1', "'Pay_ments' cannot be the name of a team: use up to 63 lower-case letters, digits, dots and dashes, and begin with a letter or digit. Move the file to the path of what it describes.")]),
    ({TEST: SYSTEM.replace("owners: [messaging]", "owners: []")}, None, "paula", [('file.declaration.key', '6 owners', 'owners must list at least one team: they approve every change to this system. Correct the field and check again.')]),
    ({TEST: SYSTEM.replace("type: queueing", "type: queuing")}, None, "paula", [('type.unknown', '1 type', "There is no system type 'queuing'; did you mean 'queueing'? Choose a type of the catalogue."), ('immutable.type', '1 type', 'The type of queue-test cannot change from queueing to queuing. Declare a new system instead.')]),
    ({TEST: SYSTEM.replace("type: queueing\n", "")}, None, "paula", [('file.declaration.key', '1 type', 'type is missing: it must be a name of lower-case letters, digits, dots and dashes. Correct the field and check again.')]),
    ({TEST: SYSTEM.replace("type: queueing", "type: directory").replace("connection: {host: queue.example.org}\nsecrets: {password: env:MERGEYARD_SECRET_QUEUE}\n", "")}, None, "paula", [('immutable.type', '1 type', 'The type of queue-test cannot change from queueing to directory. Declare a new system instead.')]),
    ({TEST: SYSTEM.replace("[messaging]", "[mesaging]")}, None, "paula", [('team.unknown', '6 owners', "There is no team 'mesaging'; did you mean 'messaging'? Correct the name of the team.")]),
    ({TEST: SYSTEM.replace("queue.example.org", "'-oProxyCommand=x'")}, None, "paula", [('file.schema.format', '4 connection.host', '"-oProxyCommand=x" is not a host name. Correct the field and check again.')]),
    ({TEST: SYSTEM.replace("secrets: {password", "secrets: {passwrd: file:x, password")}, None, "paula", [('secrets.unknown', '5 secrets.passwrd', "A system of type queueing has no secret 'passwrd'; did you mean 'password'? Remove it, or correct the name.")]),
    ({TEST: SYSTEM.replace("env:MERGEYARD_SECRET_QUEUE", "env:HOME")}, None, "paula", [('secrets.prefix', '5 secrets.password', "env:HOME is not a place a system's secret may be read from. Use a reference under env:MERGEYARD_SECRET_ or file:.")]),
    ({TEST: SYSTEM.replace("env:MERGEYARD_SECRET_QUEUE", "hunter2")}, None, "paula", [('file.declaration.key', '5 secrets.password', 'A secret is a reference like env:MERGEYARD_SECRET_NAME or file:name, never a value. Correct the field and check again.')]),
    ({TEST: SYSTEM.replace("secrets: {password: env:MERGEYARD_SECRET_QUEUE}\n", "")}, None, "paula", [('secrets.missing', 'secrets', "The secret 'password' is missing. Add a reference under secrets, like 'password: file:queue-test'.")]),
    ({TEST: SYSTEM + "limits: {max_deletes: -1}\n"}, None, "paula", [('file.declaration.key', '7 limits.max_deletes', 'max_deletes must be a whole number from 0 to 1,000,000, or null for no limit. Correct the field and check again.')]),
    ({TEST: SYSTEM + "drift: {check_every: often}\n"}, None, "paula", [('file.declaration.key', '7 drift.check_every', 'check_every must be a time like 15m or 1d. Correct the field and check again.')]),
    ({TEST: SYSTEM + "drift: {on_drift: shout}\n"}, None, "paula", [('file.declaration.key', '7 drift.on_drift', 'on_drift must be report or self-heal. Correct the field and check again.')]),
    ({TEST: None}, None, "paula", [('system.in-use', '', 'queue-test still has documents on main (2). Delete its documents in a request of their own; when that is merged and applied, delete the system.')]),
    ({"teams/messaging.yml": None}, None, "paula", [('team.in-use', '', 'messaging still owns queue-prod, queue-test. Give them to another team first.')]),
    ({"teams/payments.yml": None}, None, "paula", [('team.in-use', '', 'payments still has documents. Give them to another team first.')]),
    ({"teams/safety.yml": None}, {"teams/safety.yml": "members: [sid]\n", "policies/p.yml": "- id: p\n  approvals: {from: safety}\n"}, "paula", [('team.in-use', '', 'safety is still asked for approvals by the policy p. Let the policy ask another team first.')]),
    ({"teams/platform.yml": "title: Platform\nmembers: []\n"}, None, "paula", [('site.platform-team', '', 'Nobody would be left in the platform team (platform). Keep mergeyard.yml, and a team file with members for its platform_team.')]),
    ({"policies/p.yml": "id: p\n"}, None, "paula", [('file.declaration.shape', '1', "A file of policies is a list: begin each policy with '- id:'. Correct the field and check again.")]),
    ({"policies/p.yml": "- id: p\n  approvals: {from: gone}\n"}, None, "paula", [('team.unknown', '', "The policy p asks the team 'gone', which does not exist. Correct the name of the team.")]),
    ({"policies/p.yml": "- id: p\n"}, None, "paula", [('file.declaration.key', '1 0.approvals', 'approvals is missing: say {from: owners, count: 2}, or remove the policy. Correct the field and check again.')]),
    ({"policies/p.yml": "- id: p\n  approvals: {from: owners, count: 0}\n"}, None, "paula", [('file.declaration.key', '2 0.approvals.count', 'count must be a whole number from 1 to 20. Correct the field and check again.')]),
    ({"policies/p.yml": "- id: p\n  match: {env: test}\n  approvals: {from: owners}\n"}, None, "paula", [('file.declaration.key', '2 0.match.env', "'env' is nothing a policy can match; known are environment, system, kind, team, type. Correct the field and check again.")]),
    ({"policies/p.yml": "- id: p\n  deny_if: 'true'\n  approvals: {from: owners}\n"}, None, "paula", [('file.declaration.unknown-key', '2 0.deny_if', "'deny_if' is not a key here; known are id, match, approvals, message. Correct the field and check again.")]),
    ({"policies/p.yml": "- id: p\n  approvals: {from: owners}\n- id: p\n  approvals: {from: owners}\n"}, None, "paula", [('file.declaration.key', '3 1.id', "The id 'p' is there twice: give each policy its own. Correct the field and check again.")]),
    ({R: QUEUE}, {"teams/messaging.yml": "members: [rita]\n"}, "rita", [('approval.nobody', '', 'One of the owners of queue-test (messaging) must approve this, and none of them can: who had a hand in it never may, nor who cannot sign in. Ask the platform team to add people to messaging, or let somebody else make the request.')]),
    ({R: QUEUE}, {"policies/p.yml": "- id: p\n  approvals: {from: owners, count: 3}\n"}, "rita", [('approval.nobody', '', '3 of the owners of queue-test (messaging) must approve this, and only 2 of them can: who had a hand in it never may, nor who cannot sign in. Ask the platform team to add people to messaging, or let somebody else make the request.')]),
]

# fmt: on
CASES = YAML + PATHS + DOCUMENTS + FIELDS + SENSE + DECLARATIONS


def told(files, base, requester):
    before = tree(base)
    given = {
        path: text if text is None else ("b" * 40, text) if isinstance(text, bytes) else blob(text)
        for path, text in files.items()
    }
    return list(everything_told(before, before.with_changes(given), files, requester))


@pytest.mark.threat("values.ansible-keys", "values.options", "values.lines", "yaml.scalar", "yaml.dates")
@pytest.mark.parametrize(
    ("files", "base", "requester", "said"), CASES, ids=[f"{case[3][0][0]}-{n}" for n, case in enumerate(CASES)]
)
def test_a_mistake_is_told_with_its_place_and_what_to_do(files, base, requester, said):
    found = told(files, base, requester)
    assert [(v.id, f"{v.line or ''} {v.field}".strip(), f"{v.message} {v.fix}") for v in found] == said
    assert {violation.path for violation in found} <= set(files)


def test_every_id_of_the_code_has_its_case():
    """But for those that have a test of their own because a document alone cannot bring them about."""
    elsewhere = {
        "schema.constant", "schema.contains", "schema.combination",  # rules no kind of the test catalogue has
        "secrets.value", "secrets.unreadable",  # never get so far: test_plain_secrets.py
    }  # fmt: skip
    seen = {id.removeprefix("file.") for case in CASES for id, _, _ in case[3]}
    seen |= {re.sub(r"^immutable\..*", "immutable.<field>", id) for id in seen}
    ids = {id for id in ids_in_code() if not id.startswith("catalog.")}
    assert sorted(ids - seen - elsewhere - {"schema.<keyword>"}) == []
