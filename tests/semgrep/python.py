# Examples for python.yml: a line after `ruleid` must be found, one after `ok` must not. Nothing here is ever run.
# ruff: noqa
import asyncio, os, shlex, shutil, socket, ssl, subprocess, tempfile, urllib.request
from pathlib import Path

import ansible_runner, django_rq, jinja2, paramiko, requests

# ruleid: objects-from-data
import pickle

# ruleid: yaml-beside-the-reader
import yaml

# ruleid: chance-that-can-be-guessed
import random
from django.db.models.expressions import RawSQL
from psycopg import sql
from django.template import Template
from django.utils.html import format_html
from django.utils.safestring import mark_safe, SafeString
from django.views.decorators.csrf import csrf_exempt

# ruleid: any-host
ALLOWED_HOSTS = ["yard.example", "*"]


def html(text):
    # ruleid: html-from-data
    mark_safe(text)
    # ruleid: html-from-data
    SafeString(text)
    # ruleid: html-from-data
    format_html(f"<b>{text}</b>")
    # ruleid: html-from-data
    format_html("<b>%s</b>" % text)
    # ok: html-from-data
    format_html("<b>{}</b>", text)
    # ruleid: template-from-data
    Template(text)
    # ruleid: template-from-data
    jinja2.Environment(autoescape=True)


def commands(text):
    # ruleid: a-shell
    subprocess.run(["ls", text], shell=True)
    # ruleid: a-shell
    os.system(text)
    # ruleid: a-shell
    subprocess.getoutput(text)
    # ruleid: a-shell
    asyncio.create_subprocess_shell(text)
    # ruleid: a-shell
    shlex.split(text)
    # ruleid: a-command-as-text
    subprocess.run("ls -l")
    # ruleid: a-command-as-text
    subprocess.Popen(f"ls {text}")
    # ruleid: a-command-as-text
    subprocess.check_output("ls {}".format(text))
    # ok: a-command-as-text, a-shell
    subprocess.run(["ls", "--", text])
    # ruleid: git-beside-the-wrapper
    subprocess.run(["git", "log", text])
    # ruleid: git-beside-the-wrapper
    repository.git.log(text)
    # ruleid: the-whole-environment
    subprocess.run(["ls"], env={**os.environ, "LANG": "C"})
    # ruleid: the-whole-environment
    subprocess.run(["ls"], env=os.environ)
    # ok: the-whole-environment
    subprocess.run(["ls"], env={"PATH": os.environ["PATH"]})


def code(text):
    # ruleid: code-from-data
    eval(text)
    # ruleid: code-from-data
    exec(text)
    # ruleid: code-from-data
    __import__(text)
    # ok: code-from-data
    model.eval(text)
    # ruleid: yaml-that-makes-objects
    yaml.load(text, Loader=yaml.Loader)
    # ruleid: yaml-that-makes-objects
    yaml.full_load(text)
    # ok: yaml-that-makes-objects
    yaml.safe_load(text)


def plays(text):
    # ruleid: variables-of-a-play
    ansible_runner.run(cmdline=text)
    # ruleid: variables-of-a-play
    ansible_runner.run(inventory={"all": {"vars": text}})
    # ok: variables-of-a-play
    ansible_runner.run(extravars={"mergeyard_dir": "/attempt"})


def rows(cursor, text):
    # ruleid: sql-from-text
    cursor.execute(f"SELECT {text}")
    # ruleid: sql-from-text
    cursor.execute("SELECT %s" % text)
    # ruleid: sql-from-text
    cursor.execute("SELECT {}".format(text))
    # ruleid: sql-from-text
    cursor.execute("SELECT " + text)
    # ruleid: sql-from-text
    Commit.objects.raw("SELECT 1")
    # ruleid: sql-from-text
    Commit.objects.filter(pk=1).extra(where=[text])
    # ruleid: sql-from-text
    RawSQL("SELECT 1", [])
    # ok: sql-from-text
    cursor.execute("SELECT %s", [text])
    # ok: sql-from-text
    cursor.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(text)))


def network(url):
    # ruleid: no-time-limit
    requests.get(url)
    # ok: no-time-limit
    requests.get(url, timeout=5)
    # ruleid: no-time-limit
    urllib.request.urlopen(url)
    # ok: no-time-limit
    urllib.request.urlopen(url, timeout=5)
    # ruleid: no-time-limit
    socket.create_connection((url, 1))
    # ok: no-time-limit
    socket.create_connection((url, 1), timeout=1)
    # ruleid: no-time-limit
    client.get(url, timeout=None)
    # ruleid: any-certificate
    requests.get(url, timeout=5, verify=False)
    # ruleid: any-certificate
    ssl._create_unverified_context()
    # ruleid: any-certificate
    context.verify_mode = ssl.CERT_NONE
    # ok: any-certificate
    requests.get(url, timeout=5, verify="/etc/ca.pem")


def files(archive, folder):
    # ruleid: a-guessable-file
    tempfile.mktemp()
    # ruleid: a-guessable-file
    open("/tmp/of-mine", "w")
    # ruleid: a-guessable-file
    Path("/var/tmp/of-mine")
    # ok: a-guessable-file
    tempfile.mkstemp(dir=folder)
    # ruleid: an-archive-anywhere
    archive.extractall(folder)
    # ruleid: an-archive-anywhere
    shutil.unpack_archive(archive)
    # ok: an-archive-anywhere
    archive.extractfile("one")


# ruleid: forms-of-others
@csrf_exempt
def page(request):
    # ruleid: sent-anywhere
    return redirect(request.GET["next"])


def another_page(request):
    address = request.POST.get("next", "/")
    if request.user:
        # ruleid: sent-anywhere
        return HttpResponseRedirect(address)
    # ok: sent-anywhere
    redirect(within_site(request, address, otherwise="/"))
    # ok: sent-anywhere
    return redirect(reverse("change", args=[request.GET["number"]]))


def jobs(queue, function):
    # ruleid: a-job-that-names-code
    queue.enqueue(function, 1)
    # ruleid: a-job-that-names-code
    queue.enqueue_call(function)
    # ok: a-job-that-names-code
    queue.dequeue()
