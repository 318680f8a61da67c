"""Health for people and for machines: who gets what."""

import pytest

TOKEN = "let-me-see"


def test_a_person_sees_every_part_and_what_to_do(reader):
    page = reader("rita").get("/health/").content.decode()
    assert "Something has to be mended." in page
    assert "Start manage.py controller." in page
    part = reader("rita").get("/health/", headers={"HX-Request": "true"}).content.decode()
    assert part.startswith('<div id="health"')


def test_the_platform_team_is_told_at_home(reader):
    assert "Start manage.py controller." in reader("pia").get("/").content.decode()
    assert "Start manage.py controller." not in reader("rita").get("/").content.decode()


def test_machines_ask_without_signing_in(client, office):
    assert (client.get("/healthz").status_code, client.get("/healthz").content) == (200, b"ok\n")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.content) == (200, b"Database: ok\nState repository: warning\n")


def test_a_process_that_cannot_answer_pages_is_not_ready(client, office, settings, tmp_path):
    settings.MERGEYARD_REPOSITORY = tmp_path / "none.git"
    answer = client.get("/readyz")
    assert (answer.status_code, answer.content) == (503, b"Database: ok\nState repository: bad\n")


@pytest.mark.parametrize(
    ("setting", "header", "status"),
    [("", f"Bearer {TOKEN}", 404), (TOKEN, "", 401), (TOKEN, "Bearer x", 401), (TOKEN, f"Bearer {TOKEN}", 200)],
)
def test_figures_are_for_who_brings_the_token(client, office, settings, setting, header, status):
    settings.MERGEYARD_METRICS_TOKEN = setting
    answer = client.get("/metrics", headers={"Authorization": header})
    assert answer.status_code == status
    if status == 200:
        text = answer.content.decode()
        assert 'mergeyard_processes{sort="controller",zone=""} 0.0' in text
        assert 'mergeyard_checks{part="Controller"} 0.0' in text
        assert 'mergeyard_work_items{state="waiting"} 0.0' in text
