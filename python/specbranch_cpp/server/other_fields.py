"""Fields of other servers that rule the text and that this server cannot obey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["HARMLESS", "UNSUPPORTED", "Rule", "other_than"]

# These fields do not change the text of one request on this server.
HARMLESS = frozenset(
    {
        "cache_salt",
        "draft_model",
        "early_stopping",
        "guided_decoding_backend",
        "id_slot",
        "n_cache_reuse",
        "n_discard",
        "n_keep",
        "priority",
        "request_id",
        "slot_id",
        "ttl",
    }
)


Rule = tuple["Callable[[Any, Mapping[str, Any]], bool]", str]
"""Whether a value asks for something, and why the server refuses the field. The arguments of the
function are the value and the body."""


def other_than(*neutral: object) -> Callable[[Any, Mapping[str, Any]], bool]:
    """Whether a value is none of these, which ask for nothing."""
    return lambda value, _: value not in neutral


def _above(limit: float) -> Callable[[Any, Mapping[str, Any]], bool]:
    return lambda value, _: not isinstance(value, (int, float)) or value > limit


def _penalized(body: Mapping[str, Any]) -> bool:
    """Whether a request turns a penalty on."""
    neutral = {"repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0}
    return any(body.get(name) not in (None, value) for name, value in neutral.items())


_SAMPLER = "the engine does not have this sampler; remove the field"
_ORDER = "give samplers, which lists them in their order"
_BEAMS = "the engine has no beam search; remove the field"
_BIAS = "give logit_bias, which forbids single tokens"
_LOGPROBS = "give logprobs, and echo with logprobs on /v1/completions for scores of the prompt"
_TIME = "the engine stops by tokens, not by time; give max_tokens"
_MESSAGE = "give the text in messages"
_TEMPLATE = "start the server with --chat-template-file FILE"
_READS_TEXT = "this server reads text only"
_STATELESS = "this server keeps no conversations; give all messages"
_ADAPTERS = "give lora, with the numbers that /lora-adapters lists"
_TAGS = "the engine has no grammar that begins inside a text; give grammar or response_format"

UNSUPPORTED: dict[str, Rule] = {
    "num_beams": (other_than(1), _BEAMS),
    "use_beam_search": (other_than(False), _BEAMS),
    "length_penalty": (other_than(1), _BEAMS),
    "do_sample": (
        lambda value, body: value is False and body.get("temperature") != 0,
        "give temperature 0 for the most probable tokens",
    ),
    "sampler_order": (other_than(), _ORDER),
    "sampler_priority": (other_than(), _ORDER),
    "sampler_seq": (other_than(), _ORDER),
    "temperature_last": (other_than(False), _ORDER),
    "penalize_nl": (
        lambda value, body: value is False and _penalized(body),
        "penalties count line breaks, too",
    ),
    "tfs": (other_than(1), _SAMPLER),
    "dynamic_temperature": (other_than(False), _SAMPLER),
    "penalty_alpha": (other_than(0), _SAMPLER),
    "no_repeat_ngram_size": (other_than(0), _SAMPLER),
    "encoder_repetition_penalty": (other_than(1), _SAMPLER),
    "guidance_scale": (other_than(1), _SAMPLER),
    "cfg_scale": (other_than(1), _SAMPLER),
    "negative_prompt": (other_than(""), _SAMPLER),
    "watermark": (other_than(False), _SAMPLER),
    "token_healing": (other_than(False), "the engine does not take tokens of the prompt back"),
    "custom_logit_processor": (other_than(), "functions cannot be sent over HTTP"),
    "logits_processors": (other_than([]), "functions cannot be sent over HTTP"),
    "bad_words": (other_than([]), _BIAS),
    "banned_strings": (other_than([]), _BIAS),
    "banned_tokens": (other_than([], ""), _BIAS),
    "custom_token_bans": (other_than([], ""), _BIAS),
    "allowed_token_ids": (other_than([]), "give a grammar, which allows certain texts only"),
    "max_length": (other_than(), "the name has several meanings; give max_tokens"),
    "min_length": (other_than(0), "the name has several meanings; give min_tokens"),
    "truncate": (other_than(False), "the server never cuts a prompt; send a shorter prompt"),
    "truncate_prompt_tokens": (
        other_than(),
        "the server never cuts a prompt; send a shorter prompt",
    ),
    "include_stop_str_in_output": (other_than(False), "a text never contains the stop string"),
    "no_stop_trim": (other_than(False), "a text never contains the stop string"),
    "stop_regex": (
        other_than(""),
        "the engine stops at texts and tokens; give stop or stop_token_ids",
    ),
    "return_full_text": (other_than(False), "give echo for a text that begins with the prompt"),
    "skip_special_tokens": (other_than(True), "a text never contains names of control tokens"),
    "add_special_tokens": (
        lambda value, body: value is False and "prompt" in body,
        "a prompt begins with BOS if the model asks for it; give token ids as the prompt",
    ),
    "add_bos_token": (
        lambda value, body: value is False and "prompt" in body,
        "a prompt begins with BOS if the model asks for it; give token ids as the prompt",
    ),
    "prompt_logprobs": (other_than(), _LOGPROBS),
    "decoder_input_details": (other_than(False), _LOGPROBS),
    "top_n_tokens": (other_than(0), _LOGPROBS),
    "n_probs": (other_than(0), _LOGPROBS),
    "post_sampling_probs": (other_than(False), _LOGPROBS),
    "t_max_predict_ms": (_above(0), _TIME),
    "t_max_prompt_ms": (_above(0), _TIME),
    "n_indent": (other_than(0), "the engine does not stop at an indentation; give stop"),
    "thinking_budget_tokens": (_above(-1), "the engine does not count tokens of thoughts"),
    "thinking_token_budget": (_above(-1), "the engine does not count tokens of thoughts"),
    "reasoning_budget": (_above(-1), "the engine does not count tokens of thoughts"),
    "grammar_lazy": (other_than(False), _TAGS),
    "grammar_triggers": (other_than([]), _TAGS),
    "structural_tag": (other_than(), _TAGS),
    "guided_whitespace_pattern": (other_than(), "JSON has at most one space between its parts"),
    "whitespace_pattern": (other_than(), "JSON has at most one space between its parts"),
    "echo": (
        lambda value, body: value is True and "messages" in body,
        "the reply of a chat contains the new text only",
    ),
    "chat_template": (other_than(), _TEMPLATE),
    "chat_template_str": (other_than(""), _TEMPLATE),
    "instruction_template": (other_than(""), _TEMPLATE),
    "instruction_template_str": (other_than(""), _TEMPLATE),
    "thinking_forced_open": (other_than(False), "give a last message that the answer continues"),
    "safe_prompt": (other_than(False), f"{_MESSAGE}, with the role system"),
    "instructions": (other_than(""), f"{_MESSAGE}, with the role system"),
    "previous_response_id": (other_than(), _STATELESS),
    "conversation": (other_than(), _STATELESS),
    "image_data": (other_than([]), _READS_TEXT),
    "multimodal_data": (other_than([]), _READS_TEXT),
    "prompt_embeds": (other_than([]), _READS_TEXT),
    "lora_path": (other_than(), _ADAPTERS),
    "adapter_id": (other_than(), _ADAPTERS),
    "documents": (other_than([]), _MESSAGE),
    "system": (other_than(""), f"{_MESSAGE}, with the role system"),
    "system_prompt": (other_than(""), f"{_MESSAGE}, with the role system"),
    "options": (other_than({}), "give the options as fields of the request"),
}
