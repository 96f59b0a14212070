"""Finds the format of tool calls by what the chat template writes.

File names decide nothing. A format that is not known is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.tool_calls.formats import (
    bare,
    deepseek,
    functionary,
    gemma,
    harmony,
    hermes,
    kimi,
    lists,
    llama,
    mistral,
    pythonic,
    xml,
)

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.templates import ChatTemplate
    from specbranch_cpp.openai_api.tool_calls.tool_format import ToolFormat

__all__ = ["DESCRIBED", "TOKENS", "format_of_source", "format_of_template", "is_harmony"]

DESCRIBED: type[ToolFormat] = hermes.FormatDescribed
"""The format that `tool_calls.prompts` describes to models whose template supports no tools."""

Mentions = Callable[[str], bool]

# What a template mentions, the most special format first. All of the strings must be there.
_MENTIONED: tuple[tuple[type[ToolFormat], tuple[str, ...]], ...] = (
    (harmony.FormatHarmony, ("<|channel|>",)),
    (xml.FormatMiniMax, ("<minimax:tool_call>",)),
    (kimi.FormatKimi, ("<|tool_calls_section_begin|>",)),
    (xml.FormatDeepSeekV4, (xml.DSML, "tool_calls>")),
    (xml.FormatDeepSeekV32, (xml.DSML,)),
    (deepseek.FormatDeepSeek, (deepseek.BEGIN, "```json")),
    (deepseek.FormatDeepSeekV31, (deepseek.BEGIN,)),
    (xml.FormatSeed, ("<seed:tool_call>", "<function=")),
    (xml.FormatQwenCoder, ("<function=", "<parameter=")),
    (xml.FormatGlm, ("<tool_call>", "<arg_key>")),
    (lists.FormatCommand, ("<|START_ACTION|>",)),
    (pythonic.FormatLfm2, ("<|tool_call_start|>",)),
    (pythonic.FormatLfm2, ("<|tool_list_start|>",)),
    (gemma.FormatGemma4, ("<|tool_call>",)),
    (gemma.FormatFunctionGemma, ("<start_function_call>",)),
    (lists.FormatGigaChat, ("<|function_call|>",)),
    (lists.FormatPhi, ("<|tool|>",)),
    (lists.FormatPhi, ("<|/tool_call|>",)),
    (lists.FormatGranite, ("<|tool_call|>",)),
    (mistral.FormatMistralArgs, ("[TOOL_CALLS]", "[ARGS]")),
    (mistral.FormatMistral, ("[TOOL_CALLS]",)),
    (lists.FormatNemotron, ("<TOOLCALL>",)),
    (hermes.FormatHermes, ("<tool_call>",)),
    (lists.FormatFire, ("functools[",)),
    (functionary.FormatFunctionary, (">>>all",)),
    (llama.FormatLlamaTag, ("<function=",)),
    (pythonic.FormatOlmo, ("<function_calls>",)),
    (pythonic.FormatGemma, ("```tool_code",)),
    (pythonic.FormatLlamaPythonic, ("[func_name1(",)),
    (llama.FormatLlama, ("<|python_tag|>",)),
    (llama.FormatLlama, ('"name":', '"parameters":')),
)

# Control tokens that only one family has. They decide for templates that mention none of the above.
_TOKENS: tuple[tuple[str, type[ToolFormat]], ...] = (
    ("<|tool_call_start|>", pythonic.FormatLfm2),
    ("<|tool_calls_section_begin|>", kimi.FormatKimi),
    (deepseek.BEGIN, deepseek.FormatDeepSeekV31),
    ("<|START_ACTION|>", lists.FormatCommand),
    ("<|tool_call>", gemma.FormatGemma4),
    ("<start_function_call>", gemma.FormatFunctionGemma),
    ("<minimax:tool_call>", xml.FormatMiniMax),
    ("[TOOL_CALLS]", mistral.FormatMistral),
)

TOKENS = (harmony.CHANNEL, *(token for token, _ in _TOKENS))
"""The control tokens for which `format_of_template` asks."""


def format_of_template(template: ChatTemplate, has_token: Mentions) -> ToolFormat | None:
    """The format in which the model of a template writes calls. ``None``: it is not known.

    Args:
        template: the template.
        has_token: whether the vocabulary has a control token with a name.
    """
    if is_harmony(template.source, has_token):
        return harmony.FormatHarmony()
    if not template.reads_tools:
        return DESCRIBED()
    found = format_of_source(template.source)
    if found is not None:
        return found
    for token, kind in _TOKENS:
        if has_token(token):
            return kind()
    return bare.FormatBare() if re.search(r'\{\s*"name"\s*:\s*"probe"', _shown(template)) else None


def format_of_source(source: str) -> ToolFormat | None:
    """The format whose marks a template mentions. ``None``: it mentions none."""
    for kind, marks in _MENTIONED:
        if all(mark in source for mark in marks):
            return kind()
    return None


def is_harmony(source: str, has_token: Mentions) -> bool:
    """Whether a template writes the messages of gpt-oss, whose answers have channels."""
    if "<|channel|>" in source:
        return True
    return all(mark in source for mark in (harmony.START, harmony.MESSAGE)) and has_token(
        harmony.CHANNEL
    )


def _shown(template: ChatTemplate) -> str:
    """What the template writes for a call in a message of the assistant."""
    call = {"name": "probe", "arguments": {"key": "value"}}
    calls = [{"id": "call00001", "type": "function", "function": call}]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": calls},
    ]
    try:
        return template.render(messages, variables={"add_generation_prompt": False})
    except InvalidArgument:
        return ""
