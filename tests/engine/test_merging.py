"""Arguments of several calls become those of one, kind by kind, and outputs become theirs again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from models.catalogue.families import CallStage, Part
from runners.engine.passes.merging import finite_samples, merge, samples_of, split
from runners.engine.passes.module_calls import ModuleCall, Operation

PADDED = Part("module", CallStage.DENOISE, padded=frozenset({"text"}), padding_mask="mask")
SHARED = Part("module", CallStage.DENOISE, shared=frozenset({"ids"}))
STACKED = Part("module", CallStage.DENOISE, stacked=frozenset({"layers"}))
LISTS = Part("module", CallStage.DENOISE, listed=frozenset({"x", "shapes"}), ragged=frozenset({"texts"}))


class Module(torch.nn.Module):
    """Takes any arguments; where calls are merged, nobody looks at what it does with them."""

    dtype = torch.float32
    device = torch.device("cpu")

    def forward(self, x: Any = None, timestep: Any = None, **others: Any) -> None:
        raise AssertionError("nothing here runs it")


MODULE = Module()


def calls(part: Part, *several: dict[str, Any]) -> list[ModuleCall]:
    operation = Operation(part, MODULE)
    return [operation.call((), arguments, {}) for arguments in several]


def latents(samples: int = 1) -> Tensor:
    return torch.randn(samples, 16, 8)


def texts(*lengths: int) -> list[dict[str, Any]]:
    return [{"x": latents(), "text": torch.full((1, length, 3), float(length))} for length in lengths]


def test_texts_of_different_lengths_are_padded_and_masked() -> None:
    short, long = calls(PADDED, *texts(2, 4))
    assert short.signature == long.signature
    merged = merge([short, long])
    assert merged["text"][:, :, 0].tolist() == [[2, 2, 0, 0], [4, 4, 4, 4]]
    assert merged["mask"].tolist() == [[True, True, False, False], [True, True, True, True]]


def test_stacks_are_joined_along_their_second_axis() -> None:
    stacks = [torch.full((4, samples, 3), float(samples)) for samples in (1, 2)]
    one, two = calls(STACKED, *({"x": latents(stack.shape[1]), "layers": stack} for stack in stacks))
    assert one.signature == two.signature
    assert merge([one, two])["layers"][:, :, 0].tolist() == [[1, 2, 2]] * 4
    assert samples_of(STACKED, two.arguments, slice(1))["layers"].shape == (4, 1, 3)


def test_texts_of_one_length_need_no_mask() -> None:
    assert merge(calls(PADDED, *texts(3, 3)))["mask"] is None


def test_a_mask_that_a_call_brings_is_kept_and_extended() -> None:
    short, long = texts(2, 3)
    masked = {**short, "mask": torch.tensor([[0, 1]])}
    first, second = calls(PADDED, masked, long)
    assert first.signature == second.signature
    assert merge([first, second])["mask"].tolist() == [[False, True, False], [True, True, True]]


def test_masks_of_texts_of_one_length_are_joined() -> None:
    one, other = (
        {**text, "mask": torch.tensor([mask])} for text, mask in zip(texts(2, 2), ([1, 0], [1, 1]), strict=True)
    )
    assert merge(calls(PADDED, one, other))["mask"].tolist() == [[True, False], [True, True]]


def test_texts_of_different_widths_do_not_share() -> None:
    narrow, wide = calls(PADDED, *({"x": latents(), "text": torch.zeros(1, 4, width)} for width in (3, 5)))
    assert narrow.signature != wide.signature


def test_a_single_call_keeps_its_arguments() -> None:
    (call,) = calls(PADDED, *texts(2))
    assert merge([call]) is call.arguments


def test_tensors_without_batch_axis_are_shared_by_content() -> None:
    ids = torch.arange(6).reshape(2, 3)
    one, same, other = calls(SHARED, *({"x": latents(), "ids": own} for own in (ids, ids.clone(), ids + 1)))
    assert one.signature == same.signature != other.signature
    merged = merge([one, same])
    assert merged["x"].shape == (2, 16, 8)
    assert torch.equal(merged["ids"], ids)


def test_lists_of_samples_are_joined_end_to_end() -> None:
    pictures = [torch.randn(16, 1, 4, 4) for _ in range(3)]
    one, two = calls(
        LISTS, {"x": pictures[:1], "shapes": [[(1, 2, 2)]]}, {"x": pictures[1:], "shapes": [[(1, 2, 2)]] * 2}
    )
    assert one.signature == two.signature
    assert [one.samples, two.samples] == [1, 2]
    assert [one.tokens, two.tokens] == [16, 32]
    merged = merge([one, two])
    assert [id(own) for own in merged["x"]] == [id(own) for own in pictures]
    assert merged["shapes"] == [[(1, 2, 2)]] * 3


def test_samples_of_different_shapes_do_not_share() -> None:
    square, wide, tall = calls(
        LISTS,
        {"x": [torch.zeros(16, 1, 4, 4)], "shapes": [[(1, 2, 2)]]},
        {"x": [torch.zeros(16, 1, 2, 8)], "shapes": [[(1, 2, 2)]]},
        {"x": [torch.zeros(16, 1, 4, 4)], "shapes": [[(1, 4, 1)]]},
    )
    assert len({square.signature, wide.signature, tall.signature}) == 3


def test_ragged_lists_share_whatever_their_lengths() -> None:
    picture = torch.zeros(16, 1, 4, 4)
    short, long = calls(
        LISTS,
        {"x": [picture], "texts": [torch.zeros(2, 3)]},
        {"x": [picture], "texts": [torch.zeros(5, 3)]},
    )
    assert short.signature == long.signature
    assert [len(text) for text in merge([short, long])["texts"]] == [2, 5]


def test_a_time_is_one_per_sample() -> None:
    guided, plain = calls(
        Part("module", CallStage.DENOISE),
        {"x": latents(2), "timestep": torch.tensor(981)},
        {"x": latents(), "timestep": torch.tensor([7.5])},
    )
    assert guided.signature == plain.signature
    assert merge([guided, plain])["timestep"].tolist() == [981, 981, 7.5]


def test_fixed_arguments_stand_beside_those_of_the_pipeline() -> None:
    part = Part("module", CallStage.ENCODE, fixed={"use_cache": False})
    asked, unasked = calls(part, {"x": latents(), "use_cache": True}, {"x": latents()})
    assert asked.signature == unasked.signature
    assert merge([asked, unasked])["use_cache"] is False


def test_tensors_are_split_by_samples() -> None:
    guided, plain = calls(LISTS, {"x": latents(2)}, {"x": latents()})
    output = torch.arange(3)
    assert [own.tolist() for (own,) in split((output,), [guided, plain])] == [[0, 1], [2]]


def test_lists_with_an_entry_per_sample_are_split_like_tensors() -> None:
    pictures = [torch.randn(16, 1, 4, 4) for _ in range(3)]
    one, two = calls(LISTS, {"x": pictures[:1]}, {"x": pictures[1:]})
    (first,), (second,) = split(([p + 1 for p in pictures],), [one, two])
    assert [len(first), len(second)] == [1, 2]
    assert torch.equal(second[1], pictures[2] + 1)


def test_lists_of_whole_batches_are_split_entry_by_entry() -> None:
    """ControlNets answer with a list of residuals, which may be as long as the batch."""
    one, other = calls(Part("module", CallStage.DENOISE), {"x": latents()}, {"x": latents()})
    first, second = split([torch.tensor([1, 2]), torch.tensor([3, 4])], [one, other])
    assert [[own.tolist() for own in residuals] for residuals in (first, second)] == [[[1], [3]], [[2], [4]]]


def test_lists_of_whole_batches_of_a_controlnet_that_takes_lists() -> None:
    part = Part("controlnet", CallStage.CONTROL, listed=frozenset({"shapes"}))
    one, other = calls(part, *({"x": latents(), "shapes": [(1, 4, 4)]} for _ in range(2)))
    first, second = split([torch.tensor([1, 2]), torch.tensor([3, 4])], [one, other])
    assert [[own.tolist() for own in residuals] for residuals in (first, second)] == [[[1], [3]], [[2], [4]]]


def test_empty_options_are_none() -> None:
    part = Part("module", CallStage.DENOISE)
    empty, none = calls(part, {"x": latents(), "options": {}}, {"x": latents(), "options": None})
    assert empty.signature == none.signature
    assert merge([empty, none]).keys() == {"x"}


def test_numbers_have_the_axes_of_what_they_multiply() -> None:
    for axes in (3, 4):
        part = Part("module", CallStage.CONTROL, numbers=frozenset({"scale"}), number_axes=axes)
        merged = merge(calls(part, {"x": latents(2), "scale": 0.5}, {"x": latents(), "scale": 2.0}))
        assert merged["scale"].shape == (3,) + (1,) * (axes - 1)
        assert merged["scale"].flatten().tolist() == [0.5, 0.5, 2.0]


def test_distributions_are_split_by_their_moments() -> None:
    guided, plain = calls(Part("vae", CallStage.ENCODE), {"x": latents(2)}, {"x": latents()})
    moments = torch.randn(3, 8, 4, 4)
    first, second = split(DiagonalGaussianDistribution(moments), [guided, plain])
    assert torch.equal(first.mode(), moments[:2, :4])
    assert torch.equal(second.mode(), moments[2:, :4])


def test_distributions_are_sampled_with_a_seed_or_not_at_all() -> None:
    """SD3's pipeline for ControlNets samples without one."""
    (call,) = calls(Part("vae", CallStage.ENCODE), {"x": latents()})
    moments = torch.randn(1, 8, 4, 4)
    (known,) = split(DiagonalGaussianDistribution(moments), [call])
    assert torch.equal(known.sample(), moments[:, :4])
    plain = DiagonalGaussianDistribution(moments).sample(torch.manual_seed(1))
    assert torch.equal(known.sample(torch.manual_seed(1)), plain)


def test_only_the_samples_with_nan_or_infinity_are_blamed() -> None:
    output = torch.zeros(3, 4)
    output[1, 2] = torch.nan
    assert finite_samples(PADDED, {"sample": output, "count": torch.arange(3)}, 3).tolist() == [True, False, True]


def test_what_has_no_numbers_is_finite() -> None:
    assert finite_samples(PADDED, (torch.zeros(2, 0, 3), torch.tensor([[torch.inf], [0]])), 2).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float32, torch.float64])
def test_the_largest_numbers_are_finite(dtype: torch.dtype) -> None:
    """As in additive masks, whose sum is infinite."""
    output = torch.full((2, 4), torch.finfo(dtype).min, dtype=dtype)
    assert finite_samples(PADDED, (output,), 2).tolist() == [True, True]


def test_tuples_of_tensors_are_judged_and_split_as_a_whole() -> None:
    guided, plain = calls(PADDED, *({"x": latents(count), "text": torch.zeros(count, 4, 3)} for count in (2, 1)))
    output = (torch.tensor([[torch.inf, -torch.inf], [0, 0], [0, 0]]), torch.arange(3), torch.tensor([0, 0, torch.nan]))
    assert finite_samples(PADDED, output, 3).tolist() == [False, True, False]
    assert [tuple(map(len, own)) for own in split(output, [guided, plain])] == [(2, 2, 2), (1, 1, 1)]


def test_entries_of_lists_are_judged_one_by_one() -> None:
    output = [torch.zeros(4), torch.full((2, 2), torch.inf), torch.zeros(3)]
    assert finite_samples(LISTS, (output,), 3).tolist() == [True, False, True]


def test_a_module_that_casts_answers_in_the_dtype_it_was_given() -> None:
    (call,) = calls(Part("vae", CallStage.DECODE, casts=True), {"x": latents().half()})
    assert merge([call])["x"].dtype == torch.float32
    answer, count = call.answered((torch.zeros(1, 3), torch.arange(2)))
    assert [answer.dtype, count.dtype] == [torch.float16, torch.int64]
