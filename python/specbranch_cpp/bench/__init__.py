"""``specbranch bench``: measures the speed of every mode, and writes a report.

`plan` lists the measurements, `runner` makes them and writes a record file (`records`).
`statistics`, `report` and `plots` need only that file.
"""

from __future__ import annotations
