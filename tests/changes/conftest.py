"""A small company: its repository, its people, and a catalogue of one system type."""

from pathlib import Path

import pytest
from django.utils import timezone

from changes import catalog as catalogs
from changes import setup, workflow
from changes.models import ChangeRequest, User
from changes.repository import MAIN_REF, state
from changes.repository.snapshots import snapshot
from changes.review import evaluate
from changes.workflow.people import MERGEYARD

CATALOG = Path(__file__).parent / "catalog"

FILES = {
    "mergeyard.yml": "format: 1\ntitle: Office\nplatform_team: platform\n",
    "teams/payments.yml": "title: Payments\nmembers: [rita, paul]\n",
    "teams/shelves.yml": "title: Shelves\nmembers: [olga, otto]\n",
    "teams/others.yml": "title: Others\nmembers: [sam]\n",
    "teams/platform.yml": "title: Platform\nmembers: [pia, piet]\n",
    "systems/shelf-test.yml": "type: shelf\nenvironment: test\nowners: [shelves]\nconnection: {}\n",
    "systems/shelf-prod.yml": "type: shelf\nenvironment: production\nowners: [shelves]\nconnection: {}\n",
    "resources/payments/shelf-test/Box/orders.yml": "kind: Box\nspec:\n  size: 3  # enough for now\n",
}
PEOPLE = ("rita", "paul", "olga", "otto", "sam", "pia", "piet")
ORDERS = "resources/payments/shelf-test/Box/orders.yml"
REFUNDS = "resources/payments/shelf-test/Box/refunds.yml"


def box(size):
    return f"kind: Box\nspec:\n  size: {size}\n"


class Office:
    """Named people: rita asks, olga owns the shelves, pia is the platform's engineer, sam is a stranger."""

    def __init__(self, path):
        self.path = path

    def __getattr__(self, username):
        if username.startswith("_"):
            raise AttributeError(username)
        user, _ = User.objects.get_or_create(
            username=username, defaults={"first_name": username.title(), "email": f"{username}@office.example"}
        )
        return user

    @property
    def repository(self):
        return state()

    def text(self, path, at=None):
        data = self.repository.read(at or self.repository.main(), path)
        return None if data is None else data.decode()

    def proposed(self, edits=None, *, by=None, title="More boxes"):
        """An open change request."""
        draft = workflow.start_draft(by or self.rita, title=title)
        for path, text in (edits or {REFUNDS: box(5)}).items():
            workflow.put_edit(draft, by or self.rita, path, text or "", delete=text is None)
        workflow.propose(draft, by or self.rita)
        return draft

    def approved(self, request, *, by=None):
        digests = [item.digest for item in evaluate(request).plan.items]
        return workflow.approve(request, by or self.olga, "yes", digests, "")

    def merged(self, edits=None, **more):
        request = self.proposed(edits, **more)
        self.approved(request)
        workflow.merge(request, self.rita)
        return request

    def commit_by_hand(self, changes):
        """A commit on main that no change request made."""
        repository, main = self.repository, self.repository.main()
        commit = repository.commit(
            parents=[main],
            base_tree_of=main,
            changes=changes,
            message="By hand",
            author=MERGEYARD,
            committer=MERGEYARD,
            when=self.now,
        )
        repository.swap_ref(MAIN_REF, commit, main)
        return commit

    def declared(self, changes):
        """Rules that a change request of the platform team brought."""
        request = self.proposed(changes, by=self.pia, title="Declare it")
        self.approved(request, by=self.piet)
        workflow.merge(request, self.pia)
        return request

    @property
    def now(self):
        return timezone.now()

    def again(self, request):
        return ChangeRequest.objects.get(pk=request.pk)


@pytest.fixture
def small_catalog(settings):
    settings.MERGEYARD_CATALOG = [CATALOG]
    catalogs.catalog.cache_clear()
    yield catalogs.catalog()
    catalogs.catalog.cache_clear()


@pytest.fixture
def office(db, settings, tmp_path, small_catalog):
    settings.MERGEYARD_REPOSITORY = tmp_path / "state.git"
    setup.initialise(settings.MERGEYARD_REPOSITORY, {path: text.encode() for path, text in FILES.items()})
    office = Office(settings.MERGEYARD_REPOSITORY)
    for name in PEOPLE:
        getattr(office, name)  # who has no account is nobody's approver
    return office


@pytest.fixture
def snapshot_of(small_catalog):
    return lambda repository, commit: snapshot(repository, commit, small_catalog)
