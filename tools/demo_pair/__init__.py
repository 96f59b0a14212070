"""Train, export and measure a small target/draft pair, such as the package ships.

The command is ``tools/train_demo_pair.py``; the steps live here, one file each:

* ``data``: the text (the running Python's own standard library) and its token windows
* ``tokenizer``: byte-level BPE
* ``model``: what the architectures have in common in PyTorch; ``llama`` and ``lfm2``: the rest
* ``architectures``: the choice between them
* ``recipe``: what is trained, and for how long
* ``generation``: continuations of prompts
* ``training``: the target learns the text, the draft learns the target
* ``export``: GGUF files, written and read back
* ``check``: llama.cpp and PyTorch compute the same scores
* ``evaluation``: held-out loss and acceptance, measured on the exported files
* ``pipeline``: the stages one after the other
"""
