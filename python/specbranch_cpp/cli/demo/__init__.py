"""``specbranch demo``: a race with and without speculation, then every mode side by side.

* ``sizes``: how large the bundled pair is made, decided from measured steps
* ``grown``: the bundled pair at such a size, loaded
* ``runs``: every mode on the same texts, in turns, and what they say
* ``race``: two texts side by side, from chunks and their times
* ``page``: what is printed; ``figures``: the same for scripts
* ``session``: the order of it all; ``command``: the options
"""
