"""A model for embeddings beside the engine, run by llama-cpp-python in a process of its own.

* ``model``: the process, what it is asked, and what it answers
* ``worker``: the program of the process
* ``call``: one request, which waits in the server's queue
"""
