"""Fields of other servers that rule the text and that this server cannot obey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["HARMLESS", "UNSUPPORTED"]

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


def _not(*neutral: object) -> Callable[[Any, Mapping[str, Any]], bool]:
    return lambda value, _: value not in neutral


def _above(limit: float) -> Callable[[Any, Mapping[str, Any]], bool]:
    return lambda value, _: not isinstance(value, (int, float)) or value > limit


def _penalized(body: Mapping[str, Any]) -> bool:
    """Whether a request turns a penalty on."""
    neutral = {"repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0}
    return any(body.get(name) not in (None, value) for name, value in neutral.items())


_SAMPLER = "the engine does not have this sampler; remove the field"
_ORDER = "give samplers, which lists them in their order"
_ONE = "a request generates one text; send several requests instead"
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

# Field -> whether its value asks for something, and why the server refuses the field. The first
# argument of the function is the value; the second argument is the body.
UNSUPPORTED: dict[str, tuple[Callable[[Any, Mapping[str, Any]], bool], str]] = {
    "num_return_sequences": (_not(1), _ONE),
    "num_beams": (_not(1), _BEAMS),
    "use_beam_search": (_not(False), _BEAMS),
    "length_penalty": (_not(1), _BEAMS),
    "do_sample": (
        lambda value, body: value is False and body.get("temperature") != 0,
        "give temperature 0 for the most probable tokens",
    ),
    "sampler_order": (_not(), _ORDER),
    "sampler_priority": (_not(), _ORDER),
    "sampler_seq": (_not(), _ORDER),
    "temperature_last": (_not(False), _ORDER),
    "penalize_nl": (
        lambda value, body: value is False and _penalized(body),
        "penalties count line breaks, too",
    ),
    "tfs": (_not(1), _SAMPLER),
    "dynamic_temperature": (_not(False), _SAMPLER),
    "penalty_alpha": (_not(0), _SAMPLER),
    "no_repeat_ngram_size": (_not(0), _SAMPLER),
    "encoder_repetition_penalty": (_not(1), _SAMPLER),
    "guidance_scale": (_not(1), _SAMPLER),
    "cfg_scale": (_not(1), _SAMPLER),
    "negative_prompt": (_not(""), _SAMPLER),
    "watermark": (_not(False), _SAMPLER),
    "token_healing": (_not(False), "the engine does not take tokens of the prompt back"),
    "custom_logit_processor": (_not(), "functions cannot run between the target's tokens"),
    "logits_processors": (_not([]), "functions cannot run between the target's tokens"),
    "bad_words": (_not([]), _BIAS),
    "banned_strings": (_not([]), _BIAS),
    "banned_tokens": (_not([], ""), _BIAS),
    "custom_token_bans": (_not([], ""), _BIAS),
    "allowed_token_ids": (_not([]), "give a grammar, which allows certain texts only"),
    "max_length": (_not(), "the name has several meanings; give max_tokens"),
    "min_length": (_not(0), "the name has several meanings; give min_tokens"),
    "truncate": (_not(), "the server never cuts a prompt; send a shorter prompt"),
    "truncate_prompt_tokens": (_not(), "the server never cuts a prompt; send a shorter prompt"),
    "include_stop_str_in_output": (_not(False), "a text never contains the stop string"),
    "no_stop_trim": (_not(False), "a text never contains the stop string"),
    "stop_regex": (_not(""), "the engine stops at texts and tokens; give stop or stop_token_ids"),
    "return_full_text": (_not(False), "give echo for a text that begins with the prompt"),
    "skip_special_tokens": (_not(True), "a text never contains names of control tokens"),
    "add_special_tokens": (
        lambda value, body: value is False and "prompt" in body,
        "a prompt begins with BOS if the model asks for it; give token ids as the prompt",
    ),
    "add_bos_token": (
        lambda value, body: value is False and "prompt" in body,
        "a prompt begins with BOS if the model asks for it; give token ids as the prompt",
    ),
    "prompt_logprobs": (_not(), _LOGPROBS),
    "decoder_input_details": (_not(False), _LOGPROBS),
    "top_n_tokens": (_not(0), _LOGPROBS),
    "n_probs": (_not(0), _LOGPROBS),
    "post_sampling_probs": (_not(False), _LOGPROBS),
    "t_max_predict_ms": (_above(0), _TIME),
    "t_max_prompt_ms": (_above(0), _TIME),
    "n_indent": (_not(0), "the engine does not stop at an indentation; give stop"),
    "thinking_budget_tokens": (_above(-1), "the engine does not count tokens of thoughts"),
    "thinking_token_budget": (_above(-1), "the engine does not count tokens of thoughts"),
    "reasoning_budget": (_above(-1), "the engine does not count tokens of thoughts"),
    "grammar_lazy": (_not(False), _TAGS),
    "grammar_triggers": (_not([]), _TAGS),
    "structural_tag": (_not(), _TAGS),
    "guided_whitespace_pattern": (_not(), "JSON has at most one space between its parts"),
    "whitespace_pattern": (_not(), "JSON has at most one space between its parts"),
    "echo": (
        lambda value, body: value is True and "messages" in body,
        "the reply of a chat contains the new text only",
    ),
    "chat_template": (_not(), _TEMPLATE),
    "chat_template_str": (_not(""), _TEMPLATE),
    "instruction_template": (_not(""), _TEMPLATE),
    "instruction_template_str": (_not(""), _TEMPLATE),
    "thinking_forced_open": (_not(False), "give a last message that the answer continues"),
    "safe_prompt": (_not(False), f"{_MESSAGE}, with the role system"),
    "instructions": (_not(""), f"{_MESSAGE}, with the role system"),
    "previous_response_id": (_not(), _STATELESS),
    "conversation": (_not(), _STATELESS),
    "image_data": (_not([]), _READS_TEXT),
    "multimodal_data": (_not([]), _READS_TEXT),
    "prompt_embeds": (_not([]), _READS_TEXT),
    "lora_path": (_not(), _ADAPTERS),
    "adapter_id": (_not(), _ADAPTERS),
    "documents": (_not([]), _MESSAGE),
    "system": (_not(""), f"{_MESSAGE}, with the role system"),
    "system_prompt": (_not(""), f"{_MESSAGE}, with the role system"),
    "options": (_not({}), "give the options as fields of the request"),
}
