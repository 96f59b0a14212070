"""Parts of `tools/build_wheels.py` and `tools/check_wheels.py`. See docs/wheels.md."""
