# SPDX-License-Identifier: MIT
"""For all tests: no command's text depends on the width of the terminal that the tests were started from."""

import os

os.environ.pop("COLUMNS", None)
