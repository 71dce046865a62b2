# SPDX-License-Identifier: MIT
"""For all tests: no command's text depends on the width of the terminal that the tests were started from, and no
property on the speed of the machine."""

import os

from hypothesis import settings

os.environ.pop("COLUMNS", None)
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
