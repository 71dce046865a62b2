# SPDX-License-Identifier: MIT
RECORDS = ()
