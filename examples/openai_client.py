"""The `openai` client against `specbranch serve` (pip install openai)."""

from __future__ import annotations

import sys

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1"
client = OpenAI(base_url=url, api_key="none")
model = client.models.list().data[0].id

stream = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "Write a function that adds two numbers."}],
    max_tokens=48,
    seed=1,
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

# The same text without speculation; `timings` are fields beyond OpenAI's.
done = client.completions.create(
    model=model, prompt="def add(a, b):", max_tokens=48, seed=1, extra_body={"mode": "auto"}
)
plain = client.completions.create(
    model=model, prompt="def add(a, b):", max_tokens=48, seed=1,
    extra_body={"mode": "autoregressive"},
)  # fmt: skip
print("equal texts:", done.choices[0].text == plain.choices[0].text)
print((done.model_extra or {})["timings"])
