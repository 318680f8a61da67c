# ruff: noqa: E501 - a threat is one line
"""What Mergeyard is attacked with and what breaks around it; each is proven by the tests that name it in a marker.

A test says `@pytest.mark.threat("yaml.aliases")`. `tests/test_threats.py` makes docs/threats.md of both and holds them
together: a threat without a test stands in OPEN, or says in its last column why there is nothing to attack yet.
"""

from typing import NamedTuple


class Threat(NamedTuple):
    what: str
    control: str
    later: str = ""  # why there is nothing to test yet


AS_DATA = "The play loads documents from a file under one key; they are never templates, variables or arguments"
READER = "One reader for form, check, review and run, which refuses it before anything is built"
PUSHED = "The pre-receive hook looks at every new object in quarantine"
BOUND = "An approval is of what a file will become, by digest"
HANDS = "Requester, editors, author, committer and pusher never approve"
RULES = "Teams, owners and policies are read from main and not from the branch"
INTENT = "The intent's row comes first; the ref moves by compare-and-swap; what a crash left is completed or dropped"
LEASE = "Lease by the database's clock, with a fence in the WHERE of every write of the run"
RECORD = "The database is the record; the controller queues again what the queue lost"
DISK = "Nothing counts as done before it is written; what failed is tried again"

GROUPS: dict[str, dict[str, Threat]] = {
    "Values": {
        "values.jinja": Threat("Jinja expressions, statements and comments", AS_DATA),
        "values.tags": Threat("YAML tags", READER),
        "values.ansible-keys": Threat("Keys that begin with `__ansible`", READER + "; a play that is given one stops"),
        "values.magic": Threat("Variables that Ansible obeys (`ansible_connection`)", AS_DATA),
        "values.shell": Threat("Shell metacharacters", AS_DATA + "; no shell in the catalogue, by lint"),
        "values.options": Threat("Values that look like options (`-oProxyCommand`)", AS_DATA + "; hosts have a format"),
        "values.lines": Threat("Newlines and NUL in a field of one line", "Schemas say one line; control characters are refused"),
        "values.paths": Threat("Path traversal", "Names and references have an alphabet; links are not followed"),
        "values.naughty": Threat("The big list of naughty strings", AS_DATA),
        "values.fuzz": Threat("Anything at all under the fields of a schema", "Checks return sentences and never raise"),
        "values.long": Threat("A text of 10 MB", "Limits on forms, files and pushes"),
        "values.many": Threat("A list of 10,000 entries", "Limits on forms, values of a file and schemas"),
        "values.pasted-secret": Threat("A password where its reference belongs", "Neither stored nor taken in a push, and not repeated"),
        "values.foreign-secret": Threat("Another team's secret", "Prefixes of each team, checked in review and again in the worker"),
    },
    "Bytes of YAML": {
        "yaml.merge-keys": Threat("Merge keys, which grow exponentially", READER),
        "yaml.aliases": Threat("Anchors and aliases, which grow exponentially", READER),
        "yaml.nesting": Threat("100,000 brackets, which crash parsers", READER),
        "yaml.nodes": Threat("Very many values", READER),
        "yaml.duplicate-keys": Threat("A key twice", READER),
        "yaml.documents": Threat("Several documents", READER),
        "yaml.empty": Threat("An empty file", READER),
        "yaml.scalar": Threat("A scalar or a list instead of a mapping", "Each sort of file has one shape"),
        "yaml.bom": Threat("A byte order mark", READER),
        "yaml.crlf": Threat("CRLF, and CR alone", "CRLF reads as LF; CR alone is refused"),
        "yaml.utf-16": Threat("UTF-16", READER),
        "yaml.latin-1": Threat("Latin-1", READER),
        "yaml.control": Threat("Control characters, in escapes too", READER),
        "yaml.directives": Threat("Directives", READER),
        "yaml.dates": Threat("Impossible dates", "A date is a text until a field asks for one"),
        "yaml.any": Threat("Any bytes", READER + "; nothing but its own error is raised"),
        "yaml.suite": Threat("The YAML test suite", READER),
    },
    "git": {
        "git.symlink": Threat("A symbolic link", PUSHED),
        "git.submodule": Threat("A submodule", PUSHED),
        "git.executable": Threat("An executable file", PUSHED),
        "git.case-twins": Threat("Names that differ in case only", PUSHED + ": paths are in lower case"),
        "git.bidi": Threat("Bidi controls in names and files", PUSHED + "; what is hidden is shown"),
        "git.newline": Threat("A newline in a name", PUSHED),
        "git.long-path": Threat("Very long names", PUSHED),
        "git.deep-path": Threat("Very deep folders", PUSHED),
        "git.options": Threat("Names of refs and addresses that are options or other protocols", "Full names behind --end-of-options, allowed protocols, one wrapper"),
        "git.attributes": Threat("`.gitattributes`, which hides a diff", PUSHED + "; the plan is what is approved"),
        "git.hooks": Threat("Hooks and settings in the repository", "No hook but ours; settings of the command beat the repository's"),
        "git.large-blob": Threat("Files over the limit", PUSHED + ", sizes before content"),
        "git.large-tree": Threat("Folders, changes and histories over the limit", PUSHED + ", one tree at a time"),
        "git.forced-branch": Threat("A branch that is rewritten or deleted", "denyNonFastForwards, denyDeletes"),
        "git.branch-again": Threat("A branch that is deleted and made again with other content", "denyDeletes: a request's branch stays as its record"),
        "git.tag": Threat("A tag with the name of a branch", "No tag is taken; refs are asked for by their full names"),
        "git.rewritten-main": Threat("A main that is rewritten", "Discovery stops with an alarm; nothing runs again, nothing is dropped"),
        "git.unrelated": Threat("An unrelated history", PUSHED),
        "git.push-to-main": Threat("A push to main", "Refused in a sentence"),
        "git.commit-on-main": Threat("A commit on main that nobody approved", "Quarantined and not run; later commits run; it gives nobody a right"),
        "git.dates": Threat("Commit dates in 1970 and 2099", "Order is that of main, never that of dates"),
        "git.signers": Threat("Names that forge headers or trailers of a commit", "Line breaks and brackets are taken out"),
        "git.unsigned": Threat("Unsigned commits where a policy wants signatures", "", "No policy can ask for signatures"),
    },
    "Approval": {
        "approval.own": Threat("One's own change", HANDS),
        "approval.second-identity": Threat("Commits under another name", HANDS + "; who pushed them follows the commits"),
        "approval.later-push": Threat("A push after the approval", BOUND),
        "approval.between": Threat("A push or a word between click and merge", "The form carries the head; the intent is written only for the rows that were evaluated"),
        "approval.retarget": Threat("Another target branch", "", "There is one target, main"),
        "approval.rename": Threat("A file that moves to another team", "Both sides approve a transfer"),
        "approval.policy": Threat("The rules changed in the same request", RULES),
        "approval.left-before-merge": Threat("An approver who lost the role before the merge", "Approvals are counted again at the merge"),
        "approval.left-before-run": Threat("A role that was lost before the run", "Gates are looked at again before the run"),
        "approval.changed-before-run": Threat("A system or a prefix that changed before the run", "Gates are looked at again before the run"),
        "approval.stale-page": Threat("A stale page", "The form carries the head and the digests its reader saw"),
        "approval.replayed": Threat("A form that is sent again", "A person's word counts once; a merged request is not merged again"),
        "approval.together": Threat("Two requests that are fine alone and invalid together", "The result of the merge is checked"),
        "approval.base-moved": Threat("A main that moved meanwhile", "Compare-and-swap, then everything is evaluated again"),
    },
    "Faults": {
        "faults.push-unheard": Threat("A push that is recorded late, twice or out of order", "A note on disk before the ref moves; recording is repeatable"),
        "faults.webhook": Threat("A webhook never comes, comes 100 times, comes out of order", "", "No other forge is spoken to"),
        "faults.merge-crash": Threat("Death at a point of a merge", INTENT),
        "faults.left-lock": Threat("The lock of a branch, or of main, that a killed process left", "Removed after a minute, while nobody merges"),
        "faults.kill-web": Threat("SIGKILL of the web process", INTENT),
        "faults.kill-controller": Threat("Death of the controller while it records", "One transaction with the cursor's compare-and-set"),
        "faults.kill-worker": Threat("SIGKILL of a worker", LEASE + "; the play ends with the worker"),
        "faults.kill-play": Threat("SIGKILL of the play", "What it was to say is failed; what it set out to create is known as ours"),
        "faults.crash-points": Threat("SIGKILL of each process at every named crash point", "All of these"),
        "faults.stopped-worker": Threat("A worker that is stopped and goes on after its lease", LEASE + "; its play is dead before another starts"),
        "faults.sigterm": Threat("SIGTERM", "A worker ends its run first"),
        "faults.sigterm-twice": Threat("SIGTERM twice", "The item is given back"),
        "faults.controllers": Threat("Two controllers and many workers at once", "Compare-and-set; one running item for each system"),
        "faults.redis-killed": Threat("The queue is killed", RECORD),
        "faults.redis-emptied": Threat("The queue is emptied", RECORD),
        "faults.redis-full": Threat("The queue is full", RECORD),
        "faults.redis-slow": Threat("The queue does not answer", RECORD + "; commands have a time limit"),
        "faults.redis-gone": Threat("The queue is gone for minutes", RECORD),
        "faults.database-gone": Threat("The database is away for longer than a lease", "The play is killed; nothing of it is recorded; the lease ends by itself"),
        "faults.database-restarted": Threat("The database is restarted", "The end of a run is tried again while the lease holds"),
        "faults.database-commit": Threat("The connection is cut around COMMIT", "Moves of state hold the old state in their WHERE"),
        "faults.database-conflict": Threat("Deadlocks and serialization errors", "The end of a run is tried again while the lease holds"),
        "faults.git-gone": Threat("The forge is gone and comes back", "Work waits and no attempt is lost"),
        "faults.git-slow": Threat("The forge is slow", "Limits on the time of git"),
        "faults.power-cut": Threat("A power cut right after a merge, a proposal or a push", "Objects, refs and folders of git are synced before a row says so"),
        "faults.disk-repository": Threat("A full disk below the repository", DISK),
        "faults.disk-attempts": Threat("A full disk below the attempts", DISK),
        "faults.disk-database": Threat("A full disk below the database", DISK),
        "faults.disk-spool": Threat("A full disk below the spool", "Events wait in memory and the play with them; a worker takes no work while it is full"),
        "faults.clock": Threat("A clock that is an hour off", LEASE),
        "faults.poison": Threat("A document that kills its worker", "Attempts are counted before the start; then it is parked and others go on"),
        "faults.order": Threat("Merges, failures, retries and deaths in any order", "Order of commits for each resource, and of references"),
        "faults.ten-thousand": Threat("10,000 merges at once", RECORD),
        "faults.restore": Threat("All is lost but a backup that was made while everything ran", "Database and repository fit together as of one moment; what ran is run again"),
        "faults.upgrade": Threat("Web or worker upgraded first while jobs run", "Migrations only add, with defaults in the database; jobs carry ids alone"),
    },
    "Web": {
        "web.xss": Threat("Markup in every field that reaches a page", "Escaping everywhere, no mark_safe, a strict content security policy"),
        "web.escapes": Threat("Floods of escape sequences", "Sequences are parsed to colours and never passed on"),
        "web.long-line": Threat("A line of a million columns", "Cut, and it says so"),
        "web.long-run": Threat("A run that prints very many lines", "Stored in turns, shown from its end; limits on lines and bytes"),
        "web.overwrite": Threat("Lines that a carriage return overwrites", "Only what a terminal would show in the end"),
        "web.foreign-stream": Threat("The stream of somebody else's run", "Rights are asked for each run of a stream"),
        "web.revoked": Threat("A reader who loses the right, or signs out", "Streams ask again while they stream"),
        "web.thousand-streams": Threat("1,000 streams", "One reader for each process"),
        "web.slow-reader": Threat("A reader that takes nothing", "Bounded memory; it is dropped and comes back without a gap"),
        "web.event-id": Threat("A wrong last event id", "Read strictly"),
        "web.nobody": Threat("Every address without a session or a token", "A person is needed by default; git asks for a token"),
        "web.foreign": Threat("Every address with somebody else's object", "Object permission in each view"),
        "web.links": Threat("A link that changes something", "Verbs are POST"),
        "web.git-hoard": Threat("A token holder whose git requests take every slot, or never end", "A quota of slots for each person below all slots; half an hour for a request"),
        "web.team-quota": Threat("A team that takes more of the systems than its share", "A quota for each team and kind; one run of a system at a time"),
        "web.csrf": Threat("A form of another site", "A token in every form"),
        "web.fixation": Threat("A session that was prepared before signing in", "A new session at each sign-in"),
        "web.role-lost": Threat("A page of somebody who lost a role, or whose account was closed", "The session ends with the next request"),
        "web.brute-force": Threat("Guessing of passwords", "Ten tries for a name, then five minutes"),
        "web.redirect": Threat("A redirect to another site", "Addresses of this host only"),
        "web.host": Threat("Another host name", "Allowed hosts"),
        "web.headers": Threat("Missing headers", "Content security policy and the rest on every answer"),
    },
    "Workers and secrets": {
        "worker.forged-job": Threat("Whoever writes to the queue", "A worker takes the name of a system and nothing else: one function, no time limit, no callbacks, no commands, no pickle"),
        "worker.sees-host": Threat("A play that looks around", "bubblewrap: own processes, users and files, no environment of the worker's"),
        "worker.uncontained": Threat("A host where runs cannot be contained", "Systems of production are refused there, unless the settings say otherwise"),
        "worker.limits": Threat("A run that takes all memory, processes, output or time", "Limits of each process by the kernel, of all together by the worker, which ends the run"),
        "worker.leftovers": Threat("What an attempt leaves behind, on disk or running", "A fresh 0700 directory, wiped at the end and by a sweeper; each run has namespaces of its own, whose processes end with it"),
        "worker.left-module": Threat("A module on a host that goes on when its run is killed", "A lock on the host for each system, which the kernel frees: the next run's module waits, then says so"),
        "worker.foreign-directory": Threat("An attempt's directory that somebody else prepared", "It is the worker's own or it is not used"),
        "worker.reports": Threat("What a managed system or a module makes up", "Output is text; reports are read strictly"),
        "worker.secrets": Threat("Secrets in output, events, artifacts, pages, arguments", "Masked in all their forms before anything is kept"),
        "worker.secrets-once": Threat("A generated password is made a second time, on another host or after a loss or a death", "On record before any worker can read it, once per zone and reference; what is not found again is said"),
        "worker.secret-store": Threat("A store of secrets that is false, slow or huge; a reference to its key", "TLS verified, no redirects, bounds on time and size; no reference reads a key of the worker"),
        "worker.idioms": Threat("Playbooks that give data power again", "A lint over the catalogue"),
    },
}  # fmt: skip
THREATS = {id: threat for threats in GROUPS.values() for id, threat in threats.items()}

# Not tested yet. Whoever adds a test takes its line away.
OPEN: set[str] = set()
