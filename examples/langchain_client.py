"""LangChain against `specbranch serve` (pip install langchain-openai)."""

from __future__ import annotations

import sys

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1"
model = ChatOpenAI(base_url=url, api_key=SecretStr("none"), model="any", max_tokens=48, seed=1)
for piece in model.stream("Write a function that adds two numbers."):
    print(piece.content, end="", flush=True)
print()
