"""Train, export and measure the small target/draft pair that the package ships.

The command is ``tools/train_demo_pair.py``; the steps live here, one file each:

* ``data``: the text (the running Python's own standard library) and its token windows
* ``tokenizer``: byte-level BPE
* ``model``: the llama architecture in PyTorch
* ``training``: the target learns the text, the draft learns the target
* ``export``: GGUF files, written and read back
* ``evaluation``: held-out loss and acceptance, measured on the exported files
* ``pipeline``: the stages one after the other
"""
