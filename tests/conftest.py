"""Settings of the whole test run; what single tests need of the machine is in need.py."""

import need


def pytest_report_header():
    state = "found" if need.shared_path().is_dir() else "absent"
    missing = "fail" if need.required() else "skip"
    return "darkprune: shared material {}, tests that lack something {}".format(state, missing)
