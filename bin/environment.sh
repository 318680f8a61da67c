# Sourced by the commands beside it: make_environment FILE makes .venv with what a requirements file lists, and does
# nothing when it is there already; $installed says whether it had to.
installed=""

stop_with() {
  echo "$1" >&2
  exit 1
}

find_python() {
  local candidate
  for candidate in "${MERGEYARD_PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

is_usable() { # not when its interpreter is gone, nor when its programs name the place where it was before
  [ -x .venv/bin/python ] && [ -x .venv/bin/uv ] && grep -qsF "$(pwd -P)/.venv/bin/python" .venv/bin/pip
}

make_environment() {
  local requirements=$1 wanted python said
  [ "$(uname -sm)" = "Linux x86_64" ] ||
    stop_with "Mergeyard's embedded servers are built for Linux on x86-64; this is $(uname -sm). See docs/operations.md for an installation with servers of your own."
  command -v git >/dev/null || stop_with "git is missing: install it with your system's package manager, then start again."
  wanted=$(cat requirements.txt portal/demo/requirements.txt tests/requirements.txt | cksum)" $requirements"
  if is_usable; then
    grep -qxF "$wanted" .venv/installed 2>/dev/null && return
    # What the tests install is more than what the demo needs.
    [ "$requirements" = portal/demo/requirements.txt ] &&
      grep -qxF "${wanted% *} tests/requirements.txt" .venv/installed 2>/dev/null && return
  fi
  python=$(find_python) || stop_with "Python 3.11, 3.12 or 3.13 is missing: install it, or name one with MERGEYARD_PYTHON=/path/to/python3."
  [ "$(df -Pk . | awk 'NR==2 {print $4}')" -gt 1500000 ] ||
    stop_with "The disk that holds $PWD has less than 1.5 GB free: make room, then start again."
  if ! is_usable; then
    [ ! -L .venv ] || stop_with ".venv is a link to an environment of another place, and would be emptied: delete the link, then start again."
    echo "Making a virtual environment in .venv with $("$python" --version) ..."
    said=$("$python" -m venv --clear .venv 2>&1) ||
      stop_with "The virtual environment could not be made; on Debian and Ubuntu the package python3-venv is needed. Python said: $(echo "$said" | tail -n 1)"
    said=$(.venv/bin/pip install -q uv 2>&1) || stop_with "uv could not be installed: $(echo "$said" | tail -n 1)"
  fi
  echo "Installing what $requirements lists ..."
  .venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode -r "$requirements" ||
    stop_with "The installation stopped (see above); nothing was started. Start again when the cause is mended."
  echo "$wanted" >.venv/installed
  installed=yes
}

make_tool_environment() { # make_tool_environment NAME FILE: .venv/NAME with what FILE lists, apart from our own packages
  local name=$1 requirements=$2 wanted said
  wanted=$(cksum <"$requirements")
  grep -qsxF "$wanted" ".venv/$name/installed" && return
  echo "Installing what $requirements lists ..."
  said=$(.venv/bin/uv venv -q --clear --python .venv/bin/python ".venv/$name" 2>&1 &&
    .venv/bin/uv pip install -q --python ".venv/$name/bin/python" -r "$requirements" 2>&1) ||
    stop_with "$name could not be installed: $(echo "$said" | tail -n 1)"
  echo "$wanted" >".venv/$name/installed"
}
