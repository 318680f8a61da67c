"""Run as a process: makes the installation that the browser test looks at."""

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402

from changes import setup  # noqa: E402
from changes.models import User  # noqa: E402
from tests.portal.compose.desks import FILES  # noqa: E402

call_command("migrate", verbosity=0)
settings.STATIC_ROOT.mkdir()
setup.initialise(settings.MERGEYARD_REPOSITORY, {path: text.encode() for path, text in FILES.items()})
User.objects.create_user("rita", password="a long password")
User.objects.create_user("pia")
