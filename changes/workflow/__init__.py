"""The verbs of a change request. Each checks rights itself, by the rules of main, and says no in a sentence.

Split by verb: drafts (compose and propose), branches (pushes and updates), decisions (approve, comment, close),
merging, reverting.
"""

from changes.workflow.branches import (
    catch_up,
    finish_intents,
    push_limits,
    received_push,
    record_push,
    refused_refs,
    update_branch,
)
from changes.workflow.decisions import approve, comment, reject, withdraw
from changes.workflow.drafts import (
    describe,
    drop_edit,
    propose,
    put_edit,
    rebase_edit,
    revise,
    start_draft,
    stop_revising,
)
from changes.workflow.merging import merge
from changes.workflow.people import Refused, may_edit
from changes.workflow.reverting import revert

__all__ = [
    "Refused",
    "approve",
    "catch_up",
    "comment",
    "describe",
    "drop_edit",
    "finish_intents",
    "may_edit",
    "merge",
    "propose",
    "put_edit",
    "rebase_edit",
    "push_limits",
    "received_push",
    "record_push",
    "refused_refs",
    "reject",
    "revert",
    "revise",
    "start_draft",
    "stop_revising",
    "update_branch",
    "withdraw",
]
