"""What the tests could not look at on this machine is named at the end."""

not_tested = []


def pytest_terminal_summary(terminalreporter):
    if not_tested:
        terminalreporter.section("not tested")
        for line in sorted(set(not_tested)):
            terminalreporter.write_line(line)
