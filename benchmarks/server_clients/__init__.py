"""Several clients of a server over HTTP: ours, and llama-server, in turns.

    python -m benchmarks.server_clients TARGET DRAFT -o DIR
    python -m benchmarks.server_clients TARGET DRAFT -o DIR --clients 1 4 --stop-after 240

Each client sends its next request when it has the answer to the last one, until all prompts have an
answer. Requests and answers are the same for both servers: llama-server's ``/completion`` with
streaming, token ids, temperature 0, no end tokens, no cached prompts. The contenders:

- ``queue``: our server with ``--parallel 1`` in ``auto``; requests wait for each other
- ``autoregressive``, ``auto``: our server with ``--parallel N``
- ``llama-server``: with ``--parallel N`` and no draft
- ``llama-server, draft L``: the same with a draft of L tokens

Each server has a process of its own, and all are loaded all the time, so that their turns are
close together. The memory must hold each model once for every server. A round measures every number
of clients; at each number the contenders follow in an order that is drawn for the round. The next
command with the same folder continues a run, also with more rounds.
"""
