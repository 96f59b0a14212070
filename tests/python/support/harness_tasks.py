"""Tasks for lm-evaluation-harness that need no network, and what llama-cpp-python says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CHOICE, TEXT = "specbranch_choice", "specbranch_text"

QUESTIONS = [
    ("def add(a, b):\n    return a", [" + b", " - b", " and not"], 0),
    ("for i in range(10):\n   ", [" print(i)", " class", " )("], 0),
    ("import", [" os", "ing things", " 5 + 5"], 0),
    ("if x is None:\n    return", [" None", " not x\n", " ((("], 0),
    ("class Point:\n    def __init__(", ["x, y, z):", "self, x, y):", "yield"], 1),
    ("The capital of France is", [" seven", " Paris", " under"], 1),
    ("Two plus two equals", [" four", " purple", " Tuesday"], 0),
    ("while True:\n    try:\n        ", ["break", "except", ")"], 0),
    ("with open(path) as", [" file:", " 12", " return"], 0),
    ("A dog is an", [" animal", " planet", " verb"], 0),
    ("print(", ['"hello")', "]", " def"], 0),
    ("The sun rises in the", [" east", " sandwich", " minus"], 0),
]
PROMPTS = [
    "def fibonacci(n):\n",
    "import os\nimport",
    "class Stack:\n    def push(self, item):\n",
    "# Sort a list of numbers.\nnumbers =",
    "for name in",
    "Once upon a time",
]

_CHOICE_TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list:
  - metric: acc
"""
_TEXT_TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{target}}}}"
target_delimiter: ""
generation_kwargs:
  until: ["\\n\\n"]
  max_gen_toks: 16
  temperature: 0
  do_sample: false
metric_list:
  - metric: exact_match
"""

# Runs in an interpreter with lm_eval. The last line that it prints is the result.
HARNESS = """
import json, sys
import lm_eval
from lm_eval.tasks import TaskManager
given = json.loads(sys.argv[1])
done = lm_eval.simple_evaluate(
    model=given["model"], model_args=given["model_args"], tasks=given["tasks"],
    task_manager=TaskManager(include_path=given["folder"], include_defaults=False),
    batch_size=given["batch_size"], log_samples=True, bootstrap_iters=0,
)
samples = {
    task: [
        {"doc_id": one["doc_id"], "arguments": one["arguments"], "resps": one["resps"]}
        for one in rows
    ]
    for task, rows in done["samples"].items()
}
print("\\n" + json.dumps({"results": done["results"], "samples": samples}, default=str))
"""

# Runs in a process of its own. llama-cpp-python computes logits of token sequences and continues
# texts. As in the harness, spaces at the end of a question belong to the choice, and the tokens of
# the choice are those of the whole text behind as many tokens as the question has.
REFERENCE = """
import json, sys
from llama_cpp import Llama
given = json.loads(sys.stdin.read())
model = Llama(
    given["model"], n_ctx=1024, n_batch=128, n_threads=1, logits_all=True, flash_attn=True,
    verbose=False,
)

def tokenized(text):
    return model.tokenize(text.encode(), add_bos=given["add_bos"], special=True)

said = {"scores": [], "texts": []}
for question, choice in given["pairs"]:
    tokens = tokenized(question.rstrip())
    begin = len(tokens)
    tokens += tokenized(question + choice)[begin:]
    model.reset()
    model.eval(tokens)
    logprobs = Llama.logits_to_logprobs(model.scores[:len(tokens)])
    said["scores"].append(sum(float(logprobs[i - 1][tokens[i]]) for i in range(begin, len(tokens))))
for prompt in given["prompts"]:
    model.reset()
    done = model.create_completion(
        tokenized(prompt), max_tokens=16, temperature=0, stop=["\\n\\n"]
    )
    said["texts"].append(done["choices"][0]["text"])
print("\\n" + json.dumps(said))
"""


def write_tasks(folder: Path) -> None:
    """Writes both tasks and their data."""
    rows: dict[str, list[dict[str, Any]]] = {
        CHOICE: [
            {"question": question, "choices": choices, "answer": answer}
            for question, choices, answer in QUESTIONS
        ],
        TEXT: [{"prompt": prompt, "target": "pass"} for prompt in PROMPTS],
    }
    for name, task in ((CHOICE, _CHOICE_TASK), (TEXT, _TEXT_TASK)):
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[name]))
        (folder / f"{name}.yaml").write_text(task.format(name=name, data=data))


def said(program: str, python: str, *, argument: Any = None, data: Any = None, **env: str) -> Any:
    """What a program prints in its last line, as JSON."""
    done = subprocess.run(
        [python, "-c", program, *([] if argument is None else [json.dumps(argument)])],
        input=None if data is None else json.dumps(data),
        capture_output=True, text=True, check=False, timeout=280, env=env or None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def llama_cpp_python(
    model: Path, *, add_bos: bool = False
) -> tuple[list[list[float]], list[int], list[str]]:
    """The log-likelihoods of all choices, the best choices, and the greedy texts."""
    pairs = [(question, choice) for question, choices, _ in QUESTIONS for choice in choices]
    data = {"model": str(model), "pairs": pairs, "prompts": PROMPTS, "add_bos": add_bos}
    found = said(REFERENCE, sys.executable, data=data)
    rows = [found["scores"][i : i + 3] for i in range(0, len(pairs), 3)]
    return rows, [row.index(max(row)) for row in rows], found["texts"]
