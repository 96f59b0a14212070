"""Fuzzers: model files, adapters, requests and schemas of strangers, with seeds.

    python -m tools.fuzz files --seed 1 --count 10000
    python -m tools.fuzz adapters --seed 1 --count 1000
    python -m tools.fuzz requests --seed 1 --count 50000 --minutes 60
    python -m tools.fuzz schemas --seed 1 --count 5000

A case follows from the seed and its index alone, so ``--first INDEX --count 1`` repeats a case.
Every case runs in a forked process with a time limit, so that no case can end the fuzzer.
"""
