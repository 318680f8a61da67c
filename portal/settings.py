"""Every setting of an installation; each is an environment variable with a default that suits a laptop.

docs/settings.md documents them all.
"""

import hashlib
import os
from pathlib import Path

import environ
from csp.constants import NONE, SELF

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# Where this installation keeps what it makes: database, repository, secrets of the `file:` provider, attempts.
MERGEYARD_HOME = Path(env.str("MERGEYARD_HOME", default=str(BASE_DIR / "var"))).resolve()

SECRET_KEY = env.str("MERGEYARD_SECRET_KEY", default="")
DEBUG = env.bool("MERGEYARD_DEBUG", default=False)
ALLOWED_HOSTS = env.list("MERGEYARD_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("MERGEYARD_TRUSTED_ORIGINS", default=[])

MERGEYARD_REPOSITORY = Path(env.str("MERGEYARD_REPOSITORY", default=str(MERGEYARD_HOME / "state.git")))
# Where workers on another host than the forge's fetch from; there MERGEYARD_REPOSITORY is a mirror.
MERGEYARD_FORGE_URL = env.str("MERGEYARD_FORGE_URL", default="")
MERGEYARD_CATALOG = [BASE_DIR / "playbooks", *env.list("MERGEYARD_CATALOG", default=[])]
MERGEYARD_METRICS_TOKEN = env.str("MERGEYARD_METRICS_TOKEN", default="")
MERGEYARD_SECRETS_DIR = Path(env.str("MERGEYARD_SECRETS_DIR", default=str(MERGEYARD_HOME / "secrets")))
# `env:` references of systems resolve only under this prefix.
MERGEYARD_SECRET_ENV_PREFIX = "MERGEYARD_SECRET_"
# Under which prefixes a system's references may lie; `vault:` and `ansible-vault:` only where they are named here.
MERGEYARD_SYSTEM_SECRETS = env.list("MERGEYARD_SYSTEM_SECRETS", default=["env:MERGEYARD_SECRET_", "file:"])
# Files that ansible-vault encrypted, and the file with its password. The keys of a worker are in files of mode 0600.
MERGEYARD_ANSIBLE_VAULT_DIR = Path(env.str("MERGEYARD_ANSIBLE_VAULT_DIR", default=str(MERGEYARD_SECRETS_DIR)))
MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE = env.str("MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE", default="")
# HashiCorp Vault or OpenBao, a KV engine of version 2; a token, or an AppRole's role with its secret id.
MERGEYARD_VAULT_ADDRESS = env.str("MERGEYARD_VAULT_ADDRESS", default="")
MERGEYARD_VAULT_NAMESPACE = env.str("MERGEYARD_VAULT_NAMESPACE", default="")
MERGEYARD_VAULT_MOUNT = env.str("MERGEYARD_VAULT_MOUNT", default="secret")
MERGEYARD_VAULT_TOKEN_FILE = env.str("MERGEYARD_VAULT_TOKEN_FILE", default="")
MERGEYARD_VAULT_ROLE_ID = env.str("MERGEYARD_VAULT_ROLE_ID", default="")
MERGEYARD_VAULT_SECRET_ID_FILE = env.str("MERGEYARD_VAULT_SECRET_ID_FILE", default="")
MERGEYARD_VAULT_APPROLE_MOUNT = env.str("MERGEYARD_VAULT_APPROLE_MOUNT", default="approle")
MERGEYARD_VAULT_CA_FILE = env.str("MERGEYARD_VAULT_CA_FILE", default="")
MERGEYARD_VAULT_TIMEOUT_SECONDS = env.int("MERGEYARD_VAULT_TIMEOUT_SECONDS", default=10)


def attempts_directory(home: Path, *, memory: list[str]) -> Path:
    """The first place in memory that can be had, for secrets are handed over in files. The name is the home's own."""
    name = f"mergeyard-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    for place in map(Path, filter(os.path.isabs, memory)):
        found = place / name
        if _is_for_us(place) and (not os.path.lexists(found) or found.lstat().st_uid == os.geteuid()):
            return found
    return home / "attempts"


def _is_for_us(place: Path) -> bool:
    """May we write there, nobody else take away what we made, and programs run? Each attempt has one."""
    if not os.access(place, os.W_OK | os.X_OK):
        return False
    return place.stat().st_uid in (0, os.geteuid()) and not os.statvfs(place).f_flag & os.ST_NOEXEC


# Each attempt is a fresh 0700 directory, wiped afterwards.
_MEMORY = [env.str("XDG_RUNTIME_DIR", default=""), "/dev/shm"]
MERGEYARD_ATTEMPTS_DIR = Path(
    env.str("MERGEYARD_ATTEMPTS_DIR", default=str(attempts_directory(MERGEYARD_HOME, memory=_MEMORY)))
)
# Directories of this host that a system's connection may name (a balancer's configuration, a socket).
MERGEYARD_LOCAL_PATHS = [Path(p) for p in env.list("MERGEYARD_LOCAL_PATHS", default=[])]
# auto: bubblewrap where user namespaces work; off: never (said on every run).
MERGEYARD_CONTAINMENT = env.str("MERGEYARD_CONTAINMENT", default="auto")
# Environments whose systems a worker that cannot contain its runs serves nevertheless; `*`: all.
MERGEYARD_UNCONTAINED = env.list("MERGEYARD_UNCONTAINED", default=["test", "development", "staging"])
MERGEYARD_LEASE_SECONDS = 30
MERGEYARD_RENEW_WITHIN_SECONDS = 20
MERGEYARD_RUN_TIMEOUT_SECONDS = env.int("MERGEYARD_RUN_TIMEOUT_SECONDS", default=3600)
# Of all processes of a run together, and what it keeps in its directory.
MERGEYARD_RUN_MEMORY_MB = env.int("MERGEYARD_RUN_MEMORY_MB", default=2000)
MERGEYARD_RUN_PROCESSES = env.int("MERGEYARD_RUN_PROCESSES", default=500)
MERGEYARD_RUN_OUTPUT_MB = env.int("MERGEYARD_RUN_OUTPUT_MB", default=2000)
MERGEYARD_RUN_LINES = env.int("MERGEYARD_RUN_LINES", default=5_000_000)
# Where events wait on a worker's host until the database has them, and how many MB. With it full, no work is taken.
MERGEYARD_SPOOL_DIR = Path(env.str("MERGEYARD_SPOOL_DIR", default=str(MERGEYARD_SECRETS_DIR.parent / "spool")))
MERGEYARD_SPOOL_MB = env.int("MERGEYARD_SPOOL_MB", default=500)
# How many systems of a worker have Ansible ready in memory (0: every run starts it anew), and for how long unused.
MERGEYARD_WARM_SANDBOXES = env.int("MERGEYARD_WARM_SANDBOXES", default=4)
MERGEYARD_WARM_SECONDS = env.int("MERGEYARD_WARM_SECONDS", default=600)
MERGEYARD_MAX_ATTEMPTS = env.int("MERGEYARD_MAX_ATTEMPTS", default=3)
MERGEYARD_ZONES = env.list("MERGEYARD_ZONES", default=["default"])

DATABASES = {
    "default": env.db_url("MERGEYARD_DATABASE_URL", default=f"sqlite:///{MERGEYARD_HOME / 'mergeyard.sqlite3'}")
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["CONN_MAX_AGE"] = 60

MERGEYARD_REDIS_URL = env.str("MERGEYARD_REDIS_URL", default="redis://127.0.0.1:6379/0")
RQ_QUEUES = {f"zone-{zone}": {"URL": MERGEYARD_REDIS_URL, "DEFAULT_TIMEOUT": -1} for zone in MERGEYARD_ZONES}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_rq",
    "csp",
    "changes",
    "executors",
    "portal",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.access.sessions_end_with_roles",
]
ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.access.person",
            ],
        },
    }
]

# Counts wrong passwords for each name. With the usual 300 entries a flood of other names would make it forget them.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}}}

AUTH_USER_MODEL = "changes.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"  # pages show the reader's zone
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = MERGEYARD_HOME / "static"
SERVESTATIC_USE_FINDERS = True  # the files are served from where they lie; no step before the start
SERVESTATIC_AUTOREFRESH = DEBUG
SERVESTATIC_ALLOW_ALL_ORIGINS = False

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "portal.views.errors.csrf_failure"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# Over plain HTTP only on a laptop; behind TLS set MERGEYARD_HTTPS=1.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("MERGEYARD_HTTPS", default=False)
if SESSION_COOKIE_SECURE:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("MERGEYARD_LOG_LEVEL", default="INFO")},
}
