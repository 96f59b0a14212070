"""Measures how fast every mode decodes, fairly, and reports it: ``specbranch bench``.

`plan` lists what is to be measured, `runner` measures it into a record file (`records`), and
`statistics`, `report` and `plots` need nothing but that file.
"""

from __future__ import annotations
