from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing

__all__: list[str] = [
    "AcceptanceTable",
    "AdapterFile",
    "CrowdSimulation",
    "DeviceInfo",
    "Engine",
    "EngineStats",
    "ExactRows",
    "Footprint",
    "Generation",
    "GenerationEnd",
    "HradWeights",
    "LLGUIDANCE_VERSION",
    "LibraryInfo",
    "MAX_BRANCHES",
    "MAX_DRAFT",
    "MAX_PARALLEL",
    "MemoryShare",
    "ModelFile",
    "ModelOptions",
    "PairCheck",
    "PairProfile",
    "PairSizes",
    "PolicyRequest",
    "ProcessorChannel",
    "ProcessorTask",
    "Request",
    "RowPadding",
    "RowTrial",
    "SimulatedMachine",
    "SimulatedText",
    "SimulationResult",
    "Stats",
    "StepCosts",
    "SyntheticPair",
    "Token",
    "TokenScore",
    "Trace",
    "TraceRound",
    "TraceSpan",
    "USEFUL_PATH",
    "add_rpc_server",
    "available_memory",
    "best_trial",
    "build_commit",
    "check_pair",
    "context_length",
    "draft_footprint",
    "drain_log_lines",
    "has_rpc",
    "inspect_adapter",
    "inspect_model",
    "library_info",
    "list_devices",
    "load_engine",
    "load_llguidance",
    "model_parts",
    "needs_nothing",
    "pair_sizes",
    "plan_threads",
    "quiet_s",
    "serve_rpc",
    "simulate_crowd",
    "simulate_texts",
    "target_footprint",
    "test_rows",
]

class PolicyRequest:
    """
    A round that the caller's policy must plan.
    """
    @property
    def acceptance(self) -> float: ...
    @property
    def draft_us(self) -> float: ...
    @property
    def features(self) -> typing.Any: ...
    @property
    def limits(self) -> typing.Any: ...
    @property
    def mode(self) -> str: ...
    @property
    def nodes(self) -> typing.Any: ...
    @property
    def outcomes(self) -> typing.Any: ...
    @property
    def path(self) -> typing.Any: ...
    @property
    def position(self) -> int: ...
    @property
    def target_us(self) -> float: ...

class HradWeights:
    """
    A trained H-RAD classifier.
    """
    def __getstate__(self) -> tuple[typing.Any, ...]: ...
    def __init__(
        self,
        *,
        n_layers: typing.SupportsInt | typing.SupportsIndex,
        n_embd: typing.SupportsInt | typing.SupportsIndex,
        mean: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        scale: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        w1: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        b1: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        w2: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        b2: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        w3: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        b3: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
    ) -> None: ...
    def __setstate__(self, arg0: tuple[typing.Any, ...]) -> None: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_layers(self) -> int: ...

class ProcessorTask:
    """
    A position at which functions are asked.
    """
    @property
    def id(self) -> int: ...
    @property
    def input_ids(self) -> numpy.typing.NDArray[numpy.int32]:
        """
        The tokens before it: a new array.
        """
    @property
    def scores(self) -> numpy.typing.NDArray[numpy.float32] | None:
        """
        The logits, to be edited in place; None: masks are asked.
        """

class ProcessorChannel:
    """
    Asks functions of the caller for each choice of a generation.
    """
    def __init__(self, *, masks: bool, rows: bool) -> None: ...
    def answer_mask(
        self, task: ProcessorTask, allowed: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32]
    ) -> None:
        """
        Token t is allowed if bit t % 32 of word t // 32 is set.
        """
    def answer_row(self, task: ProcessorTask, ends: bool) -> None:
        """
        The scores of the task are edited, or the text ends before them.
        """
    def close(self) -> None:
        """
        No answer comes any more.
        """
    def fail(self, task: ProcessorTask) -> None:
        """
        A function raised an exception.
        """
    def next(self) -> ProcessorTask | None:
        """
        Waits for the next task; None at the end. For one thread of its own.
        """
    @property
    def failed_task(self) -> int | None:
        """
        The id of the task that made the generation fail.
        """

class Request:
    """
    What one generation is to do; checked when submitted.
    """

    grammar: str
    lark: str
    mode: str
    trace: bool
    def __init__(self) -> None: ...
    def new_channel(self, *, masks: bool, rows: bool) -> ProcessorChannel:
        """
        Functions of the caller will answer through the channel that this returns.
        """
    def use_ada_edl(
        self,
        threshold: typing.SupportsFloat | typing.SupportsIndex,
        acceptance: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    def use_confidence(self, epsilon: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def use_fixed(self, gamma: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def use_hook(self, n_feature_layers: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        `Generation.get` gives policy requests, which the caller must answer.
        """
    def use_hrad(
        self,
        weights: HradWeights,
        epsilon: typing.SupportsFloat | typing.SupportsIndex,
        min_probability: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    @property
    def adapters(self) -> list[tuple[int, float]] | None:
        """
        Indexes and scales of the adapters that act; None: those of the engine.
        """
    @adapters.setter
    def adapters(
        self,
        arg1: collections.abc.Sequence[
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsFloat | typing.SupportsIndex,
            ]
        ]
        | None,
    ) -> None: ...
    @property
    def adaptive_decay(self) -> float: ...
    @adaptive_decay.setter
    def adaptive_decay(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def adaptive_target(self) -> float: ...
    @adaptive_target.setter
    def adaptive_target(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def dry_allowed_length(self) -> int: ...
    @dry_allowed_length.setter
    def dry_allowed_length(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def dry_base(self) -> float: ...
    @dry_base.setter
    def dry_base(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def dry_multiplier(self) -> float: ...
    @dry_multiplier.setter
    def dry_multiplier(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def dry_penalty_last_n(self) -> int: ...
    @dry_penalty_last_n.setter
    def dry_penalty_last_n(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def dry_sequence_breakers(self) -> list[bytes]: ...
    @dry_sequence_breakers.setter
    def dry_sequence_breakers(self, arg1: collections.abc.Sequence[bytes]) -> None: ...
    @property
    def dynatemp_exponent(self) -> float: ...
    @dynatemp_exponent.setter
    def dynatemp_exponent(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def dynatemp_range(self) -> float: ...
    @dynatemp_range.setter
    def dynatemp_range(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def frequency_penalty(self) -> float: ...
    @frequency_penalty.setter
    def frequency_penalty(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def logit_bias(self) -> list[tuple[int, float]]: ...
    @logit_bias.setter
    def logit_bias(
        self,
        arg1: collections.abc.Sequence[
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsFloat | typing.SupportsIndex,
            ]
        ],
    ) -> None: ...
    @property
    def logprobs(self) -> int:
        """
        Alternatives a token; negative: none at all.
        """
    @logprobs.setter
    def logprobs(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def lookup(self) -> bool:
        """
        Texts may propose tokens.
        """
    @lookup.setter
    def lookup(self, arg0: bool) -> None: ...
    @property
    def lookup_answers(self) -> bool:
        """
        Earlier answers may do so, and this answer may later.
        """
    @lookup_answers.setter
    def lookup_answers(self, arg0: bool) -> None: ...
    @property
    def max_branches(self) -> int: ...
    @max_branches.setter
    def max_branches(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_draft(self) -> int: ...
    @max_draft.setter
    def max_draft(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_tokens(self) -> int:
        """
        Negative: until the context is full.
        """
    @max_tokens.setter
    def max_tokens(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def min_keep(self) -> int: ...
    @min_keep.setter
    def min_keep(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def min_p(self) -> float: ...
    @min_p.setter
    def min_p(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def min_tokens(self) -> int:
        """
        Before these nothing ends the text.
        """
    @min_tokens.setter
    def min_tokens(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def mirostat(self) -> int: ...
    @mirostat.setter
    def mirostat(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def mirostat_eta(self) -> float: ...
    @mirostat_eta.setter
    def mirostat_eta(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def mirostat_tau(self) -> float: ...
    @mirostat_tau.setter
    def mirostat_tau(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def n_feature_layers(self) -> int: ...
    @n_feature_layers.setter
    def n_feature_layers(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_prediction(self) -> int:
        """
        The number of tokens of the prediction.
        """
    @property
    def n_prompt(self) -> int:
        """
        The number of tokens of the prompt.
        """
    @property
    def prediction(self) -> list[int]:
        """
        Tokens of a text that the answer probably resembles.
        """
    @prediction.setter
    def prediction(
        self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> None: ...
    @property
    def presence_penalty(self) -> float: ...
    @presence_penalty.setter
    def presence_penalty(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def prompt(self) -> list[int]: ...
    @prompt.setter
    def prompt(
        self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> None: ...
    @property
    def prompt_logprobs(self) -> int:
        """
        The same for the tokens of the prompt.
        """
    @prompt_logprobs.setter
    def prompt_logprobs(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def repeat_last_n(self) -> int: ...
    @repeat_last_n.setter
    def repeat_last_n(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def repeat_penalty(self) -> float: ...
    @repeat_penalty.setter
    def repeat_penalty(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def samplers(self) -> list[str] | None:
        """
        Names of the samplers that run, in this order; None: llama.cpp's order.
        """
    @samplers.setter
    def samplers(self, arg1: collections.abc.Sequence[str] | None) -> None: ...
    @property
    def seed(self) -> int: ...
    @seed.setter
    def seed(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def stop(self) -> list[bytes]: ...
    @stop.setter
    def stop(self, arg1: collections.abc.Sequence[bytes]) -> None: ...
    @property
    def stop_tokens(self) -> list[int]:
        """
        They end the text, without them.
        """
    @stop_tokens.setter
    def stop_tokens(
        self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> None: ...
    @property
    def temperature(self) -> float: ...
    @temperature.setter
    def temperature(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def top_k(self) -> int: ...
    @top_k.setter
    def top_k(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def top_n_sigma(self) -> float: ...
    @top_n_sigma.setter
    def top_n_sigma(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def top_p(self) -> float: ...
    @top_p.setter
    def top_p(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def typical_p(self) -> float: ...
    @typical_p.setter
    def typical_p(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def xtc_probability(self) -> float: ...
    @xtc_probability.setter
    def xtc_probability(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def xtc_threshold(self) -> float: ...
    @xtc_threshold.setter
    def xtc_threshold(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...

class Stats:
    """
    What one generation did; times in milliseconds.
    """
    @property
    def acceptance_histogram(self) -> list[int]: ...
    @property
    def branch_hits(self) -> int: ...
    @property
    def branch_misses(self) -> int: ...
    @property
    def coordination_ms(self) -> float: ...
    @property
    def decode_ms(self) -> float: ...
    @property
    def draft_busy_ms(self) -> float: ...
    @property
    def draft_idle_ms(self) -> float: ...
    @property
    def mode(self) -> str: ...
    @property
    def mode_reason(self) -> str: ...
    @property
    def n_accepted(self) -> int: ...
    @property
    def n_all_drafted(self) -> int: ...
    @property
    def n_branch_accepted(self) -> int: ...
    @property
    def n_branch_verified(self) -> int: ...
    @property
    def n_branches_taken(self) -> int: ...
    @property
    def n_draft_lanes(self) -> int: ...
    @property
    def n_draft_steps(self) -> int: ...
    @property
    def n_drafted(self) -> int: ...
    @property
    def n_forced_accepted(self) -> int: ...
    @property
    def n_forced_drafted(self) -> int: ...
    @property
    def n_generated(self) -> int: ...
    @property
    def n_lookup_accepted(self) -> int: ...
    @property
    def n_lookup_drafted(self) -> int: ...
    @property
    def n_prediction_accepted(self) -> int: ...
    @property
    def n_prediction_rejected(self) -> int: ...
    @property
    def n_processor_calls(self) -> int: ...
    @property
    def n_prompt(self) -> int: ...
    @property
    def n_reused(self) -> int: ...
    @property
    def n_rolled_back(self) -> int: ...
    @property
    def n_target_steps(self) -> int: ...
    @property
    def n_tree_steps(self) -> int: ...
    @property
    def n_unresolved(self) -> int: ...
    @property
    def overlap_ms(self) -> float: ...
    @property
    def policy_skipped(self) -> int: ...
    @property
    def prefill_ms(self) -> float: ...
    @property
    def processor_ms(self) -> float: ...
    @property
    def processor_wait_ms(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def target_busy_ms(self) -> float: ...
    @property
    def target_idle_ms(self) -> float: ...

class EngineStats:
    """
    Totals over the generations that have ended.
    """
    @property
    def decode_ms(self) -> float: ...
    @property
    def measure_costs_ms(self) -> float: ...
    @property
    def n_accepted(self) -> int: ...
    @property
    def n_drafted(self) -> int: ...
    @property
    def n_generated(self) -> int: ...
    @property
    def n_generations(self) -> int: ...
    @property
    def n_rolled_back(self) -> int: ...
    @property
    def n_target_steps(self) -> int: ...

class TraceSpan:
    """
    One command on one model.
    """
    @property
    def begin_ms(self) -> float: ...
    @property
    def branch_hit(self) -> bool | None: ...
    @property
    def branch_miss(self) -> bool | None: ...
    @property
    def end(self) -> str: ...
    @property
    def end_ms(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def n_accepted(self) -> int | None: ...
    @property
    def n_branches(self) -> int: ...
    @property
    def n_padding(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def side(self) -> str: ...

class TraceRound:
    """
    One verification as it was applied.
    """
    @property
    def at_ms(self) -> float: ...
    @property
    def branch_hit(self) -> bool: ...
    @property
    def branch_miss(self) -> bool: ...
    @property
    def committed(self) -> list[int]: ...
    @property
    def confidence(self) -> list[float]: ...
    @property
    def features(self) -> numpy.typing.NDArray[numpy.float32] | None: ...
    @property
    def n_accepted(self) -> int: ...
    @property
    def n_submitted(self) -> int: ...
    @property
    def position(self) -> int: ...
    @property
    def proposals(self) -> list[tuple[list[float], int]]: ...
    @property
    def rolled_back(self) -> list[int]: ...
    @property
    def window(self) -> list[int]: ...

class Trace:
    """
    What each model did when, and what became of what was drafted.
    """
    @property
    def begin_ms(self) -> float:
        """
        When the generation began, on the clock of `time.monotonic`; 0: it has not.
        """
    @property
    def rounds(self) -> list[TraceRound]: ...
    @property
    def spans(self) -> list[TraceSpan]: ...

class StepCosts:
    """
    Times of single steps, in microseconds.
    """
    def __init__(self) -> None: ...
    @property
    def draft_slowdown(self) -> float: ...
    @draft_slowdown.setter
    def draft_slowdown(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def draft_us(self) -> list[float]:
        """
        A pass over 1, 2 .. sequences.
        """
    @draft_us.setter
    def draft_us(
        self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...
    @property
    def known(self) -> bool: ...
    @property
    def target_slowdown(self) -> float: ...
    @target_slowdown.setter
    def target_slowdown(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def target_us(self) -> list[float]:
        """
        A verification of 1, 2 .. tokens.
        """
    @target_us.setter
    def target_us(
        self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...

class AcceptanceTable:
    """
    How often drafted tokens were right.
    """

    beyond_first: bool
    def __init__(self) -> None: ...
    @property
    def beyond_expected(self) -> float: ...
    @beyond_expected.setter
    def beyond_expected(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def beyond_hits(self) -> float: ...
    @beyond_hits.setter
    def beyond_hits(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def beyond_trials(self) -> float: ...
    @beyond_trials.setter
    def beyond_trials(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def beyond_wins(self) -> float: ...
    @beyond_wins.setter
    def beyond_wins(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def expected(self) -> typing.Annotated[list[float], "FixedSize(20)"]: ...
    @expected.setter
    def expected(
        self,
        arg0: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(20)"
        ],
    ) -> None: ...
    @property
    def first_count(self) -> float: ...
    @first_count.setter
    def first_count(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def first_hits(self) -> float: ...
    @first_hits.setter
    def first_hits(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def hits(self) -> typing.Annotated[list[float], "FixedSize(20)"]: ...
    @hits.setter
    def hits(
        self,
        arg0: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(20)"
        ],
    ) -> None: ...
    @property
    def rank_expected(self) -> typing.Annotated[list[float], "FixedSize(8)"]: ...
    @rank_expected.setter
    def rank_expected(
        self,
        arg0: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(8)"
        ],
    ) -> None: ...
    @property
    def rank_hits(self) -> typing.Annotated[list[float], "FixedSize(8)"]: ...
    @rank_hits.setter
    def rank_hits(
        self,
        arg0: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(8)"
        ],
    ) -> None: ...
    @property
    def seen(self) -> typing.Annotated[list[float], "FixedSize(20)"]: ...
    @seen.setter
    def seen(
        self,
        arg0: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(20)"
        ],
    ) -> None: ...

class PairProfile:
    """
    What is known of a pair of models.
    """

    costs: StepCosts
    def __init__(self) -> None: ...
    @property
    def acceptance(self) -> typing.Annotated[list[AcceptanceTable], "FixedSize(3)"]:
        """
        One table a temperature class.
        """
    @acceptance.setter
    def acceptance(
        self, arg0: typing.Annotated[collections.abc.Sequence[AcceptanceTable], "FixedSize(3)"]
    ) -> None: ...

class SyntheticPair:
    """
    A pair whose acceptance is a parameter.
    """
    def __init__(self) -> None: ...
    @property
    def alpha(self) -> float: ...
    @alpha.setter
    def alpha(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def concentration(self) -> float: ...
    @concentration.setter
    def concentration(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def copy_length(self) -> int: ...
    @copy_length.setter
    def copy_length(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def copy_rate(self) -> float: ...
    @copy_rate.setter
    def copy_rate(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def distortion(self) -> float: ...
    @distortion.setter
    def distortion(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def n_branches(self) -> int: ...
    @n_branches.setter
    def n_branches(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_seq(self) -> int: ...
    @n_seq.setter
    def n_seq(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_vocab(self) -> int: ...
    @n_vocab.setter
    def n_vocab(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def rank_hits(self) -> list[float]: ...
    @rank_hits.setter
    def rank_hits(
        self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...
    @property
    def replay(self) -> list[tuple[list[float], int]]:
        """
        Pairs of confidences and the rank of a hit.
        """
    @replay.setter
    def replay(
        self,
        arg1: collections.abc.Sequence[
            tuple[
                collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
                typing.SupportsInt | typing.SupportsIndex,
            ]
        ],
    ) -> None: ...
    @property
    def seed(self) -> int: ...
    @seed.setter
    def seed(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def segments(self) -> list[tuple[int, float]]:
        """
        Pairs of a length and its alpha.
        """
    @segments.setter
    def segments(
        self,
        arg1: collections.abc.Sequence[
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsFloat | typing.SupportsIndex,
            ]
        ],
    ) -> None: ...
    @property
    def text(self) -> list[int]: ...
    @text.setter
    def text(
        self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> None: ...

class SimulatedMachine:
    """
    What steps cost, in microseconds.
    """
    def __init__(self) -> None: ...
    @property
    def abort_us(self) -> float: ...
    @abort_us.setter
    def abort_us(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def draft_latency_us(self) -> float: ...
    @draft_latency_us.setter
    def draft_latency_us(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def draft_prefill_us(self) -> float: ...
    @draft_prefill_us.setter
    def draft_prefill_us(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def draft_slowdown(self) -> float: ...
    @draft_slowdown.setter
    def draft_slowdown(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def draft_us(self) -> list[float]: ...
    @draft_us.setter
    def draft_us(
        self, arg1: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...
    @property
    def hop_us(self) -> float: ...
    @hop_us.setter
    def hop_us(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def rebuild_us(self) -> float: ...
    @rebuild_us.setter
    def rebuild_us(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def target_latency_us(self) -> float: ...
    @target_latency_us.setter
    def target_latency_us(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def target_prefill_us(self) -> float: ...
    @target_prefill_us.setter
    def target_prefill_us(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def target_slowdown(self) -> float: ...
    @target_slowdown.setter
    def target_slowdown(self, arg1: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def target_us(self) -> list[float]: ...
    @target_us.setter
    def target_us(
        self, arg1: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...

class SimulationResult:
    """
    Times in microseconds.
    """
    @property
    def branch_hits(self) -> int: ...
    @property
    def draft_busy_us(self) -> float: ...
    @property
    def mode_reason(self) -> str: ...
    @property
    def n_accepted(self) -> int: ...
    @property
    def n_draft_lanes(self) -> int: ...
    @property
    def n_draft_steps(self) -> int: ...
    @property
    def n_drafted(self) -> int: ...
    @property
    def n_generated(self) -> int: ...
    @property
    def n_rolled_back(self) -> int: ...
    @property
    def n_target_steps(self) -> int: ...
    @property
    def overlap_us(self) -> float: ...
    @property
    def prefill_us(self) -> float: ...
    @property
    def target_busy_us(self) -> float: ...
    @property
    def time_us(self) -> float: ...

class SimulatedText:
    """
    One of several texts. Times in microseconds.
    """
    @property
    def mode_reason(self) -> str: ...
    @property
    def n_accepted(self) -> int: ...
    @property
    def n_drafted(self) -> int: ...
    @property
    def start_us(self) -> float: ...
    @property
    def token_us(self) -> list[float]: ...

class CrowdSimulation:
    """
    Several texts. Times in microseconds.
    """
    @property
    def draft_busy_us(self) -> float: ...
    @property
    def n_batch_tokens(self) -> int: ...
    @property
    def n_batches(self) -> int: ...
    @property
    def target_busy_us(self) -> float: ...
    @property
    def texts(self) -> list[SimulatedText]: ...
    @property
    def time_us(self) -> float: ...

class Token:
    """
    One committed token.
    """
    @property
    def data(self) -> bytes:
        """
        Bytes of the text that are certain now.
        """
    @property
    def logprob(self) -> float: ...
    @property
    def origin(self) -> str:
        """
        Who had it first: target, draft or branch.
        """
    @property
    def token(self) -> int: ...
    @property
    def top(self) -> list[tuple[int, float]]:
        """
        The best alternatives, best first.
        """

class TokenScore:
    """
    The log-probability of a token of the prompt.
    """
    @property
    def logprob(self) -> float: ...
    @property
    def token(self) -> int: ...
    @property
    def top(self) -> list[tuple[int, float]]:
        """
        The best alternatives, best first.
        """

class GenerationEnd:
    """
    The end of a generation.
    """
    @property
    def draft_error(self) -> str:
        """
        What made the draft fail; empty: it did not.
        """
    @property
    def finish_reason(self) -> str: ...
    @property
    def stats(self) -> Stats: ...
    @property
    def stop(self) -> str:
        """
        The stop string that ended the text. Empty: none did.
        """
    @property
    def tail(self) -> bytes:
        """
        Bytes that were held back for a stop string.
        """
    @property
    def trace(self) -> Trace: ...

class Generation:
    """
    A running or queued generation; dropping it stops the work.
    """
    def answer(
        self,
        draft_length: typing.SupportsInt | typing.SupportsIndex,
        branch_at: typing.SupportsInt | typing.SupportsIndex,
        branches: typing.SupportsInt | typing.SupportsIndex,
        submit: typing.SupportsInt | typing.SupportsIndex,
    ) -> None:
        """
        Answers the policy request of `get`; -1 leaves a value to the mode.
        """
    def cancel(self) -> None:
        """
        Ends the work within one forward pass; never waits.
        """
    def get(self, index: int) -> Token | GenerationEnd | PolicyRequest:
        """
        The output of that index: the next, waited for, or the last one given out, again. Or a policy request, until it is answered.
        """
    def refuse(self) -> None:
        """
        As above: no plan, the generation ends.
        """
    def skip(self) -> None:
        """
        As above: no plan, the built-in rule decides in this round. Without a request: nothing.
        """
    def trace_since(
        self,
        n_spans: typing.SupportsInt | typing.SupportsIndex,
        n_rounds: typing.SupportsInt | typing.SupportsIndex,
    ) -> Trace:
        """
        What was recorded after the first ones, while it runs; rounds without features.
        """
    @property
    def n_prefilled(self) -> int:
        """
        Tokens of the prompt that the target holds.
        """
    @property
    def prompt_scores(self) -> list[TokenScore]:
        """
        Of the second token of the prompt and those after it, as far as the target has read.
        """

class RowPadding:
    """
    How the target's batches are padded.
    """
    def __init__(
        self,
        multiple: typing.SupportsInt | typing.SupportsIndex,
        max_path: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    @property
    def max_path(self) -> int:
        """
        Tokens of a verification at most, dummy tokens not counted.
        """
    @property
    def multiple(self) -> int:
        """
        Batches are filled up with dummy tokens to a multiple of this.
        """

class RowTrial:
    """
    One multiple, tried on a model.
    """
    @property
    def padding(self) -> RowPadding: ...
    @property
    def path_us(self) -> float:
        """
        Microseconds of a step over USEFUL_PATH tokens, or over `padding.max_path`.
        """
    @property
    def single_us(self) -> float:
        """
        Microseconds of a step over one token, padded.
        """

class ExactRows:
    """
    What was found for a model on this machine.
    """
    @property
    def padding(self) -> RowPadding: ...
    @property
    def repacked(self) -> bool:
        """
        With llama.cpp's repacked weights.
        """

class AdapterFile:
    """
    What the file of a LoRA adapter says.
    """
    @property
    def alpha(self) -> float:
        """
        0: the factor is the scale alone.
        """
    @property
    def n_bytes(self) -> int:
        """
        Of all its matrices.
        """
    @property
    def n_matrices(self) -> int:
        """
        Of the model, that it changes.
        """
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> bytes: ...
    @property
    def prompt_prefix(self) -> str: ...
    @property
    def rank(self) -> int:
        """
        The largest of its matrices.
        """
    @property
    def task_name(self) -> str: ...

class Engine:
    """
    A pair of loaded models, each with a thread of its own.
    """
    def close(self) -> None: ...
    def detokenize(
        self,
        tokens: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        *,
        special: bool,
    ) -> bytes: ...
    def generate(self, request: Request) -> Generation: ...
    def is_end(self, token: typing.SupportsInt | typing.SupportsIndex) -> bool: ...
    def new_request(self) -> Request:
        """
        A request for `generate`.
        """
    def set_prediction(self, request: Request, text: bytes) -> None:
        """
        Makes a text the prediction of the answer.
        """
    def set_prompt(self, request: Request, text: bytes) -> None:
        """
        Makes a text the prompt. No token crosses to Python, which takes long for many.
        """
    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> list[int]: ...
    @property
    def adapters(self) -> list[AdapterFile]:
        """
        The LoRA adapters, in their order.
        """
    @property
    def bos(self) -> int | None: ...
    @property
    def can_speculate(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def eos(self) -> int | None: ...
    @property
    def exact_rows(self) -> ExactRows | None:
        """
        How the target's batches are padded for `bit_exact`; None without it.
        """
    @property
    def fim(self) -> tuple[int, int, int] | None:
        """
        The tokens before prefix, suffix and middle; None: the model has no such tokens.
        """
    @property
    def has_draft(self) -> bool: ...
    @property
    def longest_token(self) -> int:
        """
        Bytes of a text that one token stands for at most.
        """
    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def n_branches(self) -> int:
        """
        Branches that one verification may have beside its path.
        """
    @property
    def n_ctx(self) -> int: ...
    @property
    def n_ctx_total(self) -> int:
        """
        Tokens of all generations at once, at most.
        """
    @property
    def n_embd(self) -> int: ...
    @property
    def n_feature_layers(self) -> int: ...
    @property
    def n_parallel(self) -> int:
        """
        Generations that run at once, at most.
        """
    @property
    def n_vocab(self) -> int: ...
    @property
    def notes(self) -> list[str]:
        """
        What of the pair differs and does not matter, a sentence each.
        """
    @property
    def profile(self) -> PairProfile: ...
    @property
    def stats(self) -> EngineStats: ...
    @property
    def warnings(self) -> list[str]:
        """
        What of the options is not as the caller may expect, a sentence each.
        """

class _FakeOptions:
    """
    A programmable model without weights.
    """

    fail_fatally: bool
    def __init__(self) -> None: ...
    @property
    def alignment(self) -> float: ...
    @alignment.setter
    def alignment(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def end_every(self) -> int: ...
    @end_every.setter
    def end_every(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def fail_at_step(self) -> int: ...
    @fail_at_step.setter
    def fail_at_step(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_batch(self) -> int: ...
    @max_batch.setter
    def max_batch(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def model_seed(self) -> int: ...
    @model_seed.setter
    def model_seed(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_branches(self) -> int: ...
    @n_branches.setter
    def n_branches(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_ctx(self) -> int: ...
    @n_ctx.setter
    def n_ctx(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_feature_layers(self) -> int: ...
    @n_feature_layers.setter
    def n_feature_layers(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_seq(self) -> int: ...
    @n_seq.setter
    def n_seq(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_vocab(self) -> int: ...
    @n_vocab.setter
    def n_vocab(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def sharpness(self) -> float: ...
    @sharpness.setter
    def sharpness(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def step_us(self) -> int: ...
    @step_us.setter
    def step_us(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class ModelOptions:
    """
    How one model is loaded and run.
    """

    check_tensors: bool
    flash_attn: bool
    offload_kqv: bool
    swa_full: bool
    use_extra_bufts: bool
    use_mlock: bool
    use_mmap: bool
    within_training: bool
    def __copy__(self) -> ModelOptions: ...
    def __init__(self, path: bytes) -> None: ...
    @property
    def adapters(self) -> list[tuple[bytes, float]]:
        """
        Paths of LoRA adapters, and scales.
        """
    @adapters.setter
    def adapters(
        self,
        arg1: collections.abc.Sequence[tuple[bytes, typing.SupportsFloat | typing.SupportsIndex]],
    ) -> None: ...
    @property
    def cache_ram(self) -> int | None: ...
    @cache_ram.setter
    def cache_ram(self, arg0: typing.SupportsInt | typing.SupportsIndex | None) -> None: ...
    @property
    def cpus(self) -> list[int]: ...
    @cpus.setter
    def cpus(
        self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> None: ...
    @property
    def devices(self) -> list[str]: ...
    @devices.setter
    def devices(self, arg0: collections.abc.Sequence[str]) -> None: ...
    @property
    def main_gpu(self) -> int: ...
    @main_gpu.setter
    def main_gpu(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_batch(self) -> int: ...
    @n_batch.setter
    def n_batch(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_ctx(self) -> int: ...
    @n_ctx.setter
    def n_ctx(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_ctx_total(self) -> int: ...
    @n_ctx_total.setter
    def n_ctx_total(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_gpu_layers(self) -> int: ...
    @n_gpu_layers.setter
    def n_gpu_layers(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_threads(self) -> int: ...
    @n_threads.setter
    def n_threads(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_threads_batch(self) -> int: ...
    @n_threads_batch.setter
    def n_threads_batch(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def n_ubatch(self) -> int: ...
    @n_ubatch.setter
    def n_ubatch(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def path(self) -> bytes: ...
    @property
    def split_mode(self) -> int: ...
    @split_mode.setter
    def split_mode(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def tensor_split(self) -> list[float]: ...
    @tensor_split.setter
    def tensor_split(
        self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]
    ) -> None: ...
    @property
    def type_k(self) -> int: ...
    @type_k.setter
    def type_k(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def type_v(self) -> int: ...
    @type_v.setter
    def type_v(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class LibraryInfo:
    """
    The llama.cpp that is loaded.
    """
    @property
    def ggml_commit(self) -> str: ...
    @property
    def ggml_version(self) -> str: ...
    @property
    def llama_version(self) -> str: ...
    @property
    def system(self) -> str:
        """
        The instruction sets in use.
        """

class DeviceInfo:
    """
    A device that layers may be put on; bytes of memory.
    """
    @property
    def description(self) -> str: ...
    @property
    def is_gpu(self) -> bool: ...
    @property
    def is_integrated(self) -> bool:
        """
        A GPU in main memory.
        """
    @property
    def memory_free(self) -> int: ...
    @property
    def memory_total(self) -> int: ...
    @property
    def name(self) -> str: ...

class ModelFile:
    """
    What a GGUF file says about its model.
    """
    @property
    def architecture(self) -> str: ...
    @property
    def n_ctx_train(self) -> int: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def n_positions(self) -> int:
        """
        Positions that it has learned a vector for; 0: it needs none.
        """
    @property
    def n_vocab(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def quantization(self) -> str:
        """
        The type of most of the weights' bytes.
        """
    @property
    def uniform_weights(self) -> bool:
        """
        Every matrix has that type.
        """
    @property
    def weight_bytes(self) -> int: ...

class PairCheck:
    """
    What a target and a draft can do together.
    """
    @property
    def n_common(self) -> int:
        """
        Both vocabularies have the ids below it.
        """
    @property
    def n_different(self) -> int:
        """
        Of these, the ids with another text in the draft.
        """
    @property
    def notes(self) -> list[str]:
        """
        What differs and does not matter, a sentence each.
        """

class MemoryShare:
    """
    What a model has in one memory, in bytes.
    """
    def __init__(
        self,
        device: str,
        *,
        weights: typing.SupportsInt | typing.SupportsIndex = 0,
        repacked: typing.SupportsInt | typing.SupportsIndex = 0,
        context: typing.SupportsInt | typing.SupportsIndex = 0,
        compute: typing.SupportsInt | typing.SupportsIndex = 0,
        outputs: typing.SupportsInt | typing.SupportsIndex = 0,
        adapters: typing.SupportsInt | typing.SupportsIndex = 0,
        checkpoints: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None:
        """
        For stand-ins of devices.
        """
    @property
    def adapters(self) -> int:
        """
        LoRA adapters.
        """
    @property
    def checkpoints(self) -> int:
        """
        States of prompts, at most.
        """
    @property
    def compute(self) -> int:
        """
        Buffers of a forward pass.
        """
    @property
    def context(self) -> int:
        """
        KV cells and recurrent states.
        """
    @property
    def device(self) -> str:
        """
        `CPU`: main memory.
        """
    @property
    def outputs(self) -> int:
        """
        Rows of logits.
        """
    @property
    def repacked(self) -> int:
        """
        Copies of weights for this CPU.
        """
    @property
    def total(self) -> int: ...
    @property
    def weights(self) -> int:
        """
        As they are in the file.
        """

class Footprint:
    """
    The buffers that llama.cpp allocates for a model.
    """
    def __init__(
        self,
        host: MemoryShare,
        devices: collections.abc.Sequence[MemoryShare],
        n_layers: typing.SupportsInt | typing.SupportsIndex,
    ) -> None:
        """
        For stand-ins of devices.
        """
    @property
    def devices(self) -> list[MemoryShare]:
        """
        Those that the options allow.
        """
    @property
    def host(self) -> MemoryShare: ...
    @property
    def n_layers(self) -> int:
        """
        Layers that can be on devices: the blocks and the output.
        """

class PairSizes:
    """
    What the contexts of a pair need room for.
    """
    @property
    def max_verify(self) -> int:
        """
        Tokens of one verification at most.
        """
    @property
    def n_seq(self) -> int:
        """
        Sequences of the draft.
        """
    @property
    def reserve(self) -> int:
        """
        Cells of the draft beyond its context.
        """

def _abi() -> dict[str, dict[str, typing.Any]]:
    """
    What this extension was built with, and what llama.cpp was loaded.
    """

def _fake_engine(
    target: _FakeOptions,
    draft: _FakeOptions | None,
    pieces: collections.abc.Sequence[bytes],
    *,
    measure_costs: bool = False,
    profile: PairProfile | None = None,
    lookup: bool = True,
    lookup_answers: bool = True,
    corpus: collections.abc.Sequence[
        bytes | collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ] = [],
) -> Engine:
    """
    An engine of fakes whose tokens are `pieces`.
    """

def _gumbel(seed: int, position: int, token: int) -> float:
    """
    The noise of the choice rule.
    """

def add_rpc_server(endpoint: str) -> list[str]:
    """
    Connects to a server, and returns the names of its devices. If the connection fails, now or later, the process ends.
    """

def available_memory(proc: bytes = b"/proc", cgroups: bytes = b"/sys/fs/cgroup") -> int | None:
    """
    Bytes that this process can still get; None where the system does not tell.
    """

def best_trial(trials: collections.abc.Sequence[RowTrial]) -> int | None:
    """
    The index of the best trial; None without a path of two tokens.
    """

def build_commit() -> str:
    """
    Of the clone that this was compiled from, with "-dirty" if it was changed; empty: none.
    """

def check_pair(target: bytes, draft: bytes) -> PairCheck:
    """
    Compares the vocabularies without loading weights; raises IncompatibleModels.
    """

def context_length(file: ModelFile, options: ModelOptions) -> int:
    """
    Positions that a text may have with these options.
    """

def draft_footprint(
    options: ModelOptions,
    *,
    max_draft: typing.SupportsInt | typing.SupportsIndex,
    max_branches: typing.SupportsInt | typing.SupportsIndex,
    n_parallel: typing.SupportsInt | typing.SupportsIndex = 1,
    with_weights: bool = True,
) -> Footprint:
    """
    The same for the draft.
    """

def drain_log_lines() -> list[tuple[int, str]]:
    """
    Takes llama.cpp's log lines so far, oldest first, with the levels of `logging`.
    """

def has_rpc() -> bool:
    """
    Whether llama.cpp was built with its RPC backend.
    """

def inspect_adapter(path: bytes, model: bytes) -> AdapterFile:
    """
    Reads the headers of an adapter and of its model, and refuses what the engine would refuse, but for NaN.
    """

def inspect_model(path: bytes) -> ModelFile:
    """
    Reads the header, and refuses what the engine would refuse.
    """

def library_info() -> LibraryInfo: ...
def list_devices() -> list[DeviceInfo]: ...
def load_engine(
    target: ModelOptions,
    draft: ModelOptions | None,
    *,
    max_draft: typing.SupportsInt | typing.SupportsIndex,
    max_branches: typing.SupportsInt | typing.SupportsIndex,
    n_parallel: typing.SupportsInt | typing.SupportsIndex = 1,
    prefix_reuse: str,
    bit_exact: bool,
    row_padding: RowPadding | None = None,
    measure_costs: bool,
    profile: PairProfile,
    lookup: bool = True,
    lookup_answers: bool = True,
    corpus: collections.abc.Sequence[
        bytes | collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ] = [],
    idle: collections.abc.Callable[[float | None], None],
    target_source: typing.Any = None,
    draft_source: typing.Any = None,
) -> Engine:
    """
    Loads the models on other threads. Meanwhile `idle` is called on this one, at least every 50 ms: with the share loaded so far, or None when it has not grown. What it raises stops the loading. A source gives the weights of a model whose file lacks them: its `fill(name)` is called on this thread and returns an array with the tensor's bytes.
    """

def load_llguidance(path: bytes) -> None:
    """
    Loads llguidance's functions from its extension module, and tries them. Raises InvalidArgument.
    """

def model_parts(path: bytes) -> list[bytes]:
    """
    The paths of all files of a model, in order; one if it is not split.
    """

def needs_nothing(trial: RowTrial, max_path: typing.SupportsInt | typing.SupportsIndex) -> bool:
    """
    Whether single tokens agree with paths of every length as they are.
    """

def pair_sizes(
    max_draft: typing.SupportsInt | typing.SupportsIndex,
    max_branches: typing.SupportsInt | typing.SupportsIndex,
    draft: ModelOptions,
    n_parallel: typing.SupportsInt | typing.SupportsIndex = 1,
) -> PairSizes:
    """
    As the engine sizes them.
    """

@typing.overload
def plan_threads(target: ModelOptions, *, other_hosts: bool = False) -> None:
    """
    Sets the numbers of threads that are 0, and the CPUs of a draft that needs some, as loading does.
    """

@typing.overload
def plan_threads(target: ModelOptions, draft: ModelOptions, *, other_hosts: bool = False) -> None:
    """
    Sets the numbers of threads that are 0, and the CPUs of a draft that needs some, as loading does.
    """

def quiet_s() -> float | None:
    """
    Seconds since a call of llama.cpp began, got on or ended, if one runs now.
    """

def serve_rpc(
    endpoint: str,
    *,
    n_threads: typing.SupportsInt | typing.SupportsIndex,
    devices: collections.abc.Sequence[str],
) -> None:
    """
    Serves devices until the process ends; returns if it cannot listen.
    """

def simulate_crowd(
    request: Request,
    pair: SyntheticPair,
    machine: SimulatedMachine,
    clients: collections.abc.Sequence[
        tuple[
            typing.SupportsFloat | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
        ]
    ],
    n_parallel: typing.SupportsInt | typing.SupportsIndex,
    warm: bool = True,
    draft: bool = True,
    lookup: bool = False,
) -> CrowdSimulation:
    """
    Decodes several texts at once under a virtual clock; a client is (arrival_us, n_prompt, n_tokens).
    """

def simulate_texts(
    requests: collections.abc.Sequence[Request],
    pairs: collections.abc.Sequence[SyntheticPair],
    machines: collections.abc.Sequence[SimulatedMachine],
    lookups: collections.abc.Sequence[bool],
    warm: bool = True,
    draft: bool = True,
) -> list[SimulationResult]:
    """
    Decodes one text after another under a virtual clock, each with a request, a pair, a machine and whether it drafts from its text; refuses what is out of range.
    """

def target_footprint(
    options: ModelOptions,
    *,
    max_draft: typing.SupportsInt | typing.SupportsIndex,
    max_branches: typing.SupportsInt | typing.SupportsIndex,
    n_parallel: typing.SupportsInt | typing.SupportsIndex = 1,
    with_weights: bool = True,
) -> Footprint:
    """
    What llama.cpp would allocate for the target of an engine, without loading it. Raises what loading raises.
    """

def test_rows(
    options: ModelOptions, *, max_path: typing.SupportsInt | typing.SupportsIndex
) -> list[RowTrial]:
    """
    Loads a model and tries every multiple: up to which length the rows of a batch have the bits of single tokens.
    """

LLGUIDANCE_VERSION: str = "1.9.1"
MAX_BRANCHES: int = 32
MAX_DRAFT: int = 64
MAX_PARALLEL: int = 16
USEFUL_PATH: int = 6
__version__: str = "0.1.0"
